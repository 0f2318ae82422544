"""What an operator can pin at run time: the rung, with who, why and until when."""

from collections.abc import Callable
from datetime import datetime

from pydantic import AwareDatetime, Field

from jeeves_gateway.record import GatewayRecord
from jeeves_shared.contracts.answers import Rung
from jeeves_shared.contracts.base import Contract


class RungPin(Contract):
    """`PUT /v1/admin/rung`: answers come from this rung or a lower one until the pin expires."""

    rung: Rung
    reason: str = Field(min_length=3, max_length=200)
    until: AwareDatetime


class RungSwitch:
    """The pinned rung.

    Args:
        record: keeps it over restarts.
        now: the time, with its zone.
    """

    def __init__(self, record: GatewayRecord, now: Callable[[], datetime]) -> None:
        self._record = record
        self._now = now
        self._pin: RungPin | None = None

    def restore(self) -> None:
        """Read the pin of an earlier run."""
        stored = self._record.served("rung")
        self._pin = RungPin.model_validate(stored) if stored else None

    def pin(self, pin: RungPin | None, actor: str) -> None:
        """Pin a rung, or take the pin away."""
        document = pin.model_dump(mode="json") if pin else None
        self._record.set_served({"rung": document}, actor, "rung-pinned" if pin else "rung-released")
        self._pin = pin

    @property
    def current(self) -> RungPin | None:
        """The pin, unless it has expired."""
        return self._pin if self._pin is not None and self._now() < self._pin.until else None

    def rung(self) -> Rung | None:
        """The pinned rung; None when nothing is pinned, or `full`, which pins nothing."""
        pin = self.current
        return None if pin is None or pin.rung == "full" else pin.rung
