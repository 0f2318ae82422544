"""Features that an operator can switch off at run time, with who, why and until when."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import AwareDatetime, Field

from jeeves_gateway.errors import Unavailable
from jeeves_gateway.record import GatewayRecord
from jeeves_shared.contracts.base import Contract

Feature = Literal["retrieval", "generation", "streaming", "feedback", "diagnose", "embeddings", "conversations"]
FEATURES: tuple[Feature, ...] = get_args(Feature)


class FeatureOff(Contract):
    """`PUT /v1/admin/switches/{feature}`: the feature is off until then."""

    reason: str = Field(min_length=3, max_length=200)
    until: AwareDatetime


class FeatureSwitches:
    """Which features are off. Asking costs a look into memory: a switch takes effect at once.

    Args:
        record: keeps them over restarts.
        now: the time, with its zone.
    """

    def __init__(self, record: GatewayRecord, now: Callable[[], datetime]) -> None:
        self._record = record
        self._now = now
        self._off: dict[Feature, FeatureOff] = {}

    def restore(self) -> None:
        """Read the switches of an earlier run."""
        stored = self._record.served("switches") or {}
        self._off = {name: FeatureOff.model_validate(stored[name]) for name in FEATURES if name in stored}

    def set(self, feature: Feature, off: FeatureOff | None, actor: str) -> None:
        """Switch a feature off, or on again."""
        changed = {name: value for name, value in self.off().items() if name != feature}
        if off is not None:
            changed[feature] = off
        document: dict[str, Any] = {name: value.model_dump(mode="json") for name, value in changed.items()}
        self._record.set_served({"switches": document}, actor, "feature-off" if off else "feature-on")
        self._off = changed

    def off(self) -> dict[Feature, FeatureOff]:
        """What is off now."""
        return {name: value for name, value in self._off.items() if self._now() < value.until}

    def is_off(self, feature: Feature) -> bool:
        """Whether a feature is off now."""
        found = self._off.get(feature)
        return found is not None and self._now() < found.until

    def require(self, feature: Feature) -> None:
        """Refuse what needs a feature that is off.

        Raises:
            Unavailable: it is off; the operator's reason is told.
        """
        found = self._off.get(feature)
        if found is not None and self._now() < found.until:
            raise Unavailable(f"The operator has switched {feature} off: {found.reason}", 60)
