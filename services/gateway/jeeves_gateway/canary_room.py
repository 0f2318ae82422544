"""The candidate's engine beside the champion's: started, given its share, judged after each answer, ended."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from jeeves_gateway.canary import CanaryRequest, CanaryState, SequentialTest, good_at, in_share, worse_at
from jeeves_gateway.engines import LocalEngine
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord
from jeeves_shared.contracts.requests import ServedModel
from jeeves_shared.errors import Conflict, NotFound

if TYPE_CHECKING:
    from jeeves_gateway.serving import ModelRoom

logger = logging.getLogger(__name__)


class CanaryRoom:
    """At most one candidate. It does not survive a restart of the gateway: then the champion serves alone.

    Args:
        room: starts engines, and serves the champion.
        record: gets every decision into the audit trail.
        metrics: gets rollbacks.
        drain_seconds: time for the candidate's running answers.
    """

    def __init__(self, room: "ModelRoom", record: GatewayRecord, metrics: GatewayMetrics, drain_seconds: float) -> None:
        self._room = room
        self._record = record
        self._metrics = metrics
        self._drain_seconds = drain_seconds
        self._engine: LocalEngine | None = None
        self._request: CanaryRequest | None = None
        self._test = SequentialTest()
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, request: CanaryRequest, actor: str) -> CanaryState:
        """Load, verify and ask a candidate, then give it its share.

        Raises:
            Conflict: there is one already, or an external engine serves.
            ModelRefused, NotFound, ArtifactCorrupt, EngineError: as `ModelRoom.serve`.
        """
        async with self._starting:
            if self._engine is not None:
                raise Conflict(f"{self._engine.model.id} is tried already: DELETE /v1/admin/models/canary ends it.")
            engine = await self._room.start_beside(request.serve.model_dump(mode="json"))
            self._engine, self._request, self._test = engine, request, SequentialTest()
            await self._note(actor, "canary-started")
            return self.state()

    def state(self) -> CanaryState:
        """The candidate and what is known of it.

        Raises:
            NotFound: there is none.
        """
        if self._engine is None or self._request is None:
            raise NotFound("No candidate is tried: PUT /v1/admin/models/canary starts one.")
        test = self._test
        return CanaryState(
            model=self._engine.model.model_copy(update={"state": "ready" if self._engine.ready else "starting"}),
            share=self._request.share,
            answers=test.answers,
            bad=test.bad,
            champion_answers=test.champion_answers,
            champion_bad=test.champion_bad,
            evidence=test.evidence,
            worse_at=worse_at(),
            good_at=good_at(),
            verdict=test.verdict,
        )

    def choose(self, conversation: str) -> LocalEngine | None:
        """The candidate's engine, if the conversation is in its share; None for the champion's."""
        engine, request = self._engine, self._request
        if engine is None or request is None or not in_share(conversation, request.share):
            return None
        if not engine.ready or engine.breaker.state == "open":
            self._roll_back("canary-engine-down")
            return None
        return engine

    def observe(self, model: ServedModel, bad: bool) -> None:
        """An answer of either model; enough bad ones of the candidate roll it back."""
        if self._engine is None:
            return
        if model.id != self._engine.model.id:
            self._test.champion(bad)
        else:
            self._test.candidate(bad)
        # A champion's answer may complete a pair, too.
        if self._test.verdict == "worse":
            self._roll_back("canary-worse")

    async def promote(self, actor: str) -> ServedModel:
        """Make the candidate the champion.

        Raises:
            Conflict: the test has not found it as good yet.
            JeevesError: as `ModelRoom.serve`.
        """
        state = self.state()
        if self._request is None or state.verdict != "as-good":
            raise Conflict(
                f"After {state.answers} answers the candidate is not known to be as good: wait, or serve it by "
                "PUT /v1/admin/models/champion."
            )
        served = await self._room.serve(self._request.serve, actor)
        await self.end(actor, "canary-promoted")
        return served

    async def end(self, actor: str, action: str = "canary-ended") -> None:
        """Take the candidate's share away at once, and stop its engine when its answers are finished.

        Raises:
            NotFound: there is none.
        """
        self.state()
        await self._note(actor, action)
        self._retire()

    async def stop(self) -> None:
        """Stop everything now."""
        if self._engine is not None:
            await self._engine.stop(0.0)
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _roll_back(self, reason: str) -> None:
        logger.warning("candidate rolled back", extra={"reason": reason})
        self._metrics.degradations.labels(reason).inc()
        # The state is read before the candidate is gone.
        self._spawn(self._write("sequential-test", reason, self._detail()))
        self._retire()

    def _retire(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._spawn(engine.stop(self._drain_seconds))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _note(self, actor: str, action: str) -> None:
        await self._write(actor, action, self._detail())

    async def _write(self, actor: str, action: str, detail: dict[str, Any]) -> None:
        await asyncio.to_thread(self._record.note, actor, action, detail)

    def _detail(self) -> dict[str, Any]:
        return self.state().model_dump(mode="json", exclude={"worse_at", "good_at"})
