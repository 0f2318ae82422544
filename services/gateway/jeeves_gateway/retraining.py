"""When enough was learned from feedback, or answers got worse: ask the controller for a retraining, once per reason.

The request is recorded before it is sent, under a name that follows from its reason: after a crash, or a lost answer,
the same name is sent again, and the controller's side knows it.
"""

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol

from pydantic import AwareDatetime, Field

from jeeves_gateway.feedback import Feedback, FeedbackCounts
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.settings import GatewaySettings
from jeeves_shared.contracts.base import Contract
from jeeves_shared.errors import JeevesError

logger = logging.getLogger(__name__)

ACTOR = "gateway"
_LOOKS_BEFORE_LOST = 3
"""Between the queue and its build an item is in neither for a moment."""
_FINAL = frozenset({"finished", "cancelled", "lost"})
Reason = Literal["feedback", "quality"]


class RetrainingStatus(Contract):
    """What became of the latest request; stands in `GET /v1/admin/status`."""

    request_id: str
    reason: Reason
    at: AwareDatetime
    accepted: int = Field(ge=0, description="Accepted feedback when it was made.")
    given: int = Field(ge=0, description="Feedback when it was made.")
    state: str = Field(default="asked", description="`asked` until the controller has answered.")
    url: str = Field(default="", description="Of the build.")
    result: str = Field(default="", description="Jenkins' word: `SUCCESS`, `UNSTABLE` (the gate refused), …")
    problem: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing more will be known."""
        return self.state in _FINAL


class Asked(Protocol):
    """What is known of a build that was asked for."""

    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def result(self) -> str: ...  # noqa: D102


class Trigger(Protocol):
    """Asks a controller; `jeeves_shared.retraining.RetrainingTrigger`."""

    def start(self, request_id: str, parameters: Mapping[str, str]) -> Asked:
        """Ask for a build, unless this request was made before."""

    def find(self, request_id: str, queue_id: int = 0) -> Asked | None:
        """What became of it."""


def reason_for(
    counts: FeedbackCounts, last: RetrainingStatus | None, *, accepted_min: int, window: int, bad_share_max: float
) -> Reason | None:
    """Why to retrain now; None for no reason.

    Args:
        counts: of the feedback.
        last: the request before, whatever became of it.
        accepted_min: newly accepted items that are enough.
        window: latest ratings that are looked at; all of them newer than the last request.
        bad_share_max: share of bad ones among them that is still good, in [0, 1].
    """
    accepted_before, given_before = (last.accepted, last.given) if last else (0, 0)
    if counts.accepted - accepted_before >= accepted_min:
        return "feedback"
    if counts.given - given_before >= window and counts.recent_bad > bad_share_max * window:
        return "quality"
    return None


class RetrainingWatch:
    """Looks from time to time whether a retraining is due, and follows the one that was asked for.

    Args:
        feedback: is counted.
        record: keeps the request over restarts.
        trigger: None: there is no controller, and nothing is done.
        accepted_min: as of `reason_for`; so are the next two.
        window: ratings.
        bad_share_max: in [0, 1].
        now: the time, with its zone.
    """

    def __init__(
        self,
        feedback: Feedback,
        record: GatewayRecord,
        trigger: Trigger | None,
        *,
        accepted_min: int,
        window: int,
        bad_share_max: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._feedback = feedback
        self._record = record
        self._trigger = trigger
        self._accepted_min = accepted_min
        self._window = window
        self._bad_share_max = bad_share_max
        self._now = now
        self._unseen = 0

    @property
    def on(self) -> bool:
        """Whether there is a controller to ask."""
        return self._trigger is not None

    def status(self) -> RetrainingStatus | None:
        """The latest request; None if there was none. May block."""
        stored = self._record.served("retraining")
        return None if stored is None else RetrainingStatus.model_validate(stored)

    def look(self) -> RetrainingStatus | None:
        """One look: follow the request that is not finished, or make one if there is a reason. Blocks.

        Returns:
            The latest request.
        """
        last = self.status()
        if self._trigger is None:
            return last
        if last is not None and not last.final:
            return self._follow(last, self._trigger)
        counts = self._feedback.counts(self._window)
        reason = reason_for(
            counts,
            last,
            accepted_min=self._accepted_min,
            window=self._window,
            bad_share_max=self._bad_share_max,
        )
        if reason is None:
            return last
        asked = RetrainingStatus(
            request_id=f"{reason}-{counts.accepted}-{counts.given}-{counts.newest}",
            reason=reason,
            at=self._now(),
            accepted=counts.accepted,
            given=counts.given,
        )
        self._keep(asked, "retraining-asked")
        return self._follow(asked, self._trigger)

    def _follow(self, last: RetrainingStatus, trigger: Trigger) -> RetrainingStatus:
        try:
            if last.state == "asked":
                found: Asked | None = trigger.start(last.request_id, {"FORCE": "false"})
            else:
                found = trigger.find(last.request_id)
        except JeevesError as exc:
            logger.warning("retraining: %s", exc.detail, extra={"code": exc.code})
            told = last.model_copy(update={"problem": exc.detail})
        else:
            self._unseen = 0 if found is not None else self._unseen + 1
            update = {"problem": ""}
            if found is not None:
                update |= {"state": found.state, "url": found.url, "result": found.result}
            elif self._unseen >= _LOOKS_BEFORE_LOST:
                update = {"state": "lost", "problem": "Neither the queue nor the latest builds know it."}
            told = last.model_copy(update=update)
        if told != last:
            self._keep(told, f"retraining-{told.state}")
        return told

    def _keep(self, status: RetrainingStatus, action: str) -> None:
        self._record.set_served({"retraining": status.model_dump(mode="json")}, ACTOR, action)


async def keep_looking(watch: RetrainingWatch, seconds: float) -> None:
    """Look again and again, until cancelled.

    Args:
        watch: does nothing without a controller.
        seconds: between two looks.
    """
    while watch.on:
        await asyncio.to_thread(watch.look)
        await asyncio.sleep(seconds)


def make_trigger(settings: GatewaySettings) -> Trigger | None:
    """The controller of the settings; None if no retraining job is named.

    Raises:
        JeevesError: a job is named, and python-jenkins is not installed.
    """
    if not settings.gateway_retraining_job:
        return None
    if importlib.util.find_spec("jenkins") is None:
        raise JeevesError("JEEVES_GATEWAY_RETRAINING_JOB needs python-jenkins: pip install 'jeeves-gateway[jenkins]'.")
    from jeeves_shared.retraining import RetrainingTrigger  # noqa: PLC0415  (an extra)

    token = settings.gateway_jenkins_token
    return RetrainingTrigger(
        settings.gateway_jenkins_url,
        settings.gateway_retraining_job,
        user=settings.gateway_jenkins_user,
        token=token.get_secret_value() if token else "",
    )
