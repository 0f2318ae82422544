"""The candidate's engine beside the champion's: started, given its share, judged after each answer, ended."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from jeeves_gateway.canary import SequentialTest, UsualTime, good_at, in_share, worse_at
from jeeves_gateway.engines import LocalEngine
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord
from jeeves_shared.contracts.canary import CanaryRequest, CanaryState
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
        self._last: tuple[CanaryRequest, ServedModel] | None = None
        self._ended = ""
        self._test = SequentialTest()
        self._usual = UsualTime()
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
            self._engine, self._last, self._ended = engine, (request, engine.model), ""
            self._test, self._usual = SequentialTest(), UsualTime()
            await self._note(actor, "canary-started")
            return self.state()

    @property
    def model(self) -> ServedModel | None:
        """The candidate that is tried now."""
        return self._engine.model if self._engine is not None else None

    def state(self) -> CanaryState:
        """The candidate that is tried, or the last one that was, and what is known of it.

        Raises:
            NotFound: there was none since the gateway started.
        """
        if self._last is None:
            raise NotFound("No candidate is tried: PUT /v1/admin/models/canary starts one.")
        test, (request, model) = self._test, self._last
        ready = self._engine is not None and self._engine.ready
        return CanaryState(
            model=model.model_copy(update={"state": "ready" if ready else "starting"}),
            share=request.share,
            shadow=request.shadow,
            ended=self._ended,
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
        """The candidate's engine, if it answers this conversation; None for the champion's."""
        return None if self._last is None or self._last[0].shadow else self._able(conversation)

    def shadow(self, conversation: str) -> LocalEngine | None:
        """The candidate's engine, if it writes along in this conversation without being read."""
        return self._able(conversation) if self._last is not None and self._last[0].shadow else None

    def _able(self, conversation: str) -> LocalEngine | None:
        engine = self._engine
        if engine is None or self._last is None or not in_share(conversation, self._last[0].share):
            return None
        if not engine.ready or engine.breaker.state == "open":
            self._roll_back("canary-engine-down")
            return None
        return engine

    def observe(self, model_id: str, bad: bool, seconds: float = 0.0) -> None:
        """An answer of either model, or what its reader says of it; enough bad ones of the candidate roll it back.

        Args:
            model_id: whose answer.
            bad: whether it counts against it.
            seconds: how long it took; 0 if that does not count.
        """
        if self._engine is None:
            return
        bad = bad or self._usual.is_slow(seconds)
        if model_id != self._engine.model.id:
            if seconds:
                self._usual.champion(seconds)
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
        state = self._running()
        if self._last is None or state.verdict != "as-good":
            raise Conflict(
                f"After {state.answers} answers the candidate is not known to be as good: wait, or serve it by "
                "PUT /v1/admin/models/champion."
            )
        served = await self._room.serve(self._last[0].serve, actor)
        await self.end(actor, "canary-promoted")
        return served

    async def end(self, actor: str, action: str = "canary-ended") -> None:
        """Take the candidate's share away at once, and stop its engine when its answers are finished.

        Raises:
            NotFound: there is none.
        """
        self._running()
        await self._note(actor, action)
        self._retire(action)

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
        self._retire(reason)

    def _running(self) -> CanaryState:
        if self._engine is None:
            raise NotFound("No candidate is tried: PUT /v1/admin/models/canary starts one.")
        return self.state()

    def _retire(self, reason: str) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            self._ended = reason
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
