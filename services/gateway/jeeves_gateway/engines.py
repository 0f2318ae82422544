"""Engines that the gateway may ask: the supervised local one, and an external one by address.

A local engine is started, warmed, watched and started again with growing pauses when it dies, hangs or stalls. While
it is down `ready` is False and the ladder answers without it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from jeeves_gateway.beginnings import Beginnings
from jeeves_gateway.breaker import CircuitBreaker
from jeeves_gateway.errors import UpstreamFailed
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.slots import SlotBook
from jeeves_gateway.upstream import Endpoint, Piece, Sampling, Upstream
from jeeves_shared.contracts.prompts import Message, build_messages
from jeeves_shared.contracts.requests import ServedModel
from jeeves_shared.engine.errors import EngineError, EngineNotReady, EngineStartFailed
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.25
_HEALTH_EVERY_SECONDS = 5.0
_SICK_CHECKS_TO_RESTART = 3
_STALLS_TO_RESTART = 2
_BACKOFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_STEADY_SECONDS = 60.0
"""An engine that ran this long begins again with the shortest pause."""

SpecMaker = Callable[[Path, str], EngineSpec]


class Engine(Protocol):
    """What the answering part sees of an engine."""

    model: ServedModel
    breaker: CircuitBreaker

    @property
    def ready(self) -> bool:
        """Whether it can be asked now."""

    def stream(self, messages: Sequence[Message], sampling: Sampling, owner: str) -> AsyncGenerator[Piece]:
        """Generate for a key, as `Upstream.stream`."""

    async def first_start(self, seconds: float) -> None:
        """Wait until the first start has succeeded or failed, at most so long."""

    def stalled(self) -> None:
        """A request was met with silence."""


class _Leases:
    """Counts running requests, so that an engine can be drained."""

    def __init__(self) -> None:
        self.count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        self.count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.count -= 1
            if self.count == 0:
                self._idle.set()

    async def wait_idle(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


class LocalEngine:
    """A GGUF file served by a supervised llama-server.

    Args:
        model: what it is.
        spec: how to start it.
        upstream: for warming.
        clock: monotonic seconds.
        metrics: gets restarts.
        binary: llama-server; None finds the installed one.
    """

    def __init__(
        self,
        model: ServedModel,
        spec: EngineSpec,
        *,
        upstream: Upstream,
        clock: Callable[[], float],
        metrics: GatewayMetrics,
        binary: Path | None = None,
    ) -> None:
        self.model = model
        self.breaker = CircuitBreaker(clock)
        self.leases = _Leases()
        self.problem = ""
        self._spec = spec
        self._upstream = upstream
        self._clock = clock
        self._metrics = metrics
        self._binary = binary
        self._process: EngineProcess | None = None
        self._slots = SlotBook(spec.slots)
        self._beginnings: Beginnings | None = None
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()
        self._stalls = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether it is loaded, warm and alive now."""
        return self._ready.is_set() and self._process is not None and self._process.alive

    @property
    def endpoint(self) -> Endpoint:
        """Where to ask.

        Raises:
            EngineNotReady: not started.
        """
        if self._process is None:
            raise EngineNotReady("the engine was not started")
        return _endpoint(self._process)

    async def stream(self, messages: Sequence[Message], sampling: Sampling, owner: str) -> AsyncGenerator[Piece]:
        """Generate for a key, in a slot of its own for as long as it takes.

        Raises:
            EngineNotReady: not started.
            UpstreamFailed: as `Upstream.stream`.
        """
        endpoint, beginnings, slots, began = self.endpoint, self._beginnings, self._slots, self._clock()
        if beginnings is None:
            raise EngineNotReady("the engine was not started")
        with slots.hold(owner, messages) as place:
            there, cached_tokens = await beginnings.computed(owner, messages, place)
            spent = self._clock() - began
            async with aclosing(
                self._upstream.stream(endpoint, messages, sampling, there, spent_seconds=spent)
            ) as pieces:
                async for piece in pieces:
                    if piece.text:
                        slots.written(place, owner)
                    if cached_tokens is not None and piece.completion_tokens:
                        yield replace(piece, cached_tokens=cached_tokens)
                    else:
                        yield piece

    @property
    def pid(self) -> int | None:
        """Process id; None while there is no process."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Begin to supervise; returns at once."""
        self._task = asyncio.create_task(self._supervise(), name=f"engine {self.model.id}")

    async def wait_ready(self, seconds: float) -> None:
        """Wait for the first successful start.

        Raises:
            EngineStartFailed: the first start failed; it is not tried again by this call.
            EngineNotReady: not ready in time.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError as exc:
            raise EngineNotReady(f"the engine was not ready within {seconds:g} s") from exc
        if not self.ready:
            raise EngineStartFailed(self.problem or "the engine did not start")

    async def first_start(self, seconds: float) -> None:
        """Wait until the first start has succeeded or failed, at most so long; later starts are not waited for."""
        await _at_most(seconds, self._settled)

    def stalled(self) -> None:
        """A request was met with silence; after some of them in a row the process is replaced."""
        self._stalls += 1

    async def stop(self, drain_seconds: float) -> None:
        """Wait for running requests, then end the process."""
        if not await self.leases.wait_idle(drain_seconds):
            logger.warning("engine stopped with requests still running", extra={"requests": self.leases.count})
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _supervise(self) -> None:
        failures = 0
        while True:
            started = self._clock()
            reason = await self._run_once()
            failures = 0 if self._clock() - started > _STEADY_SECONDS else failures + 1
            pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1] if failures else _BACKOFF_SECONDS[0]
            self._metrics.engine_restarts.labels(reason).inc()
            logger.warning("engine ended, starting again", extra={"reason": reason, "pause_seconds": pause})
            await asyncio.sleep(pause)

    async def _run_once(self) -> str:
        """One life of the process.

        Returns:
            Why it ended, one word.
        """
        self._process = process = EngineProcess(self._spec, self._binary)
        self._stalls = 0
        self._slots = SlotBook(self._spec.slots)
        try:
            await process.start()
            self._beginnings = Beginnings(process, _endpoint(process), self._upstream, self._metrics)
            await process.wait_ready()
            await self._beginnings.warm(build_messages("What is Jenkins?", []))
            self.problem = ""
            self._ready.set()
            self._settled.set()
            logger.info("engine ready", extra={"model": self.model.id, "pid": process.pid})
            reason = await self._watch(process)
            self.problem = f"the engine was stopped: {reason}"
        except (EngineError, UpstreamFailed) as exc:
            # `str` has the end of the engine's log, for the operator; `detail` is for clients.
            logger.warning("engine start failed: %s", exc)
            self.problem = exc.detail
            reason = "start-failed"
        finally:
            self._ready.clear()
            self._settled.set()
            await process.stop()
        return reason

    async def _watch(self, process: EngineProcess) -> str:
        sick = 0
        next_check = self._clock() + _HEALTH_EVERY_SECONDS
        while process.alive:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._stalls >= _STALLS_TO_RESTART:
                return "stalled"
            if self._clock() < next_check:
                continue
            sick = 0 if await process.healthy() else sick + 1
            if sick >= _SICK_CHECKS_TO_RESTART:
                return "hung"
            next_check = self._clock() + _HEALTH_EVERY_SECONDS
        return "killed" if (process.exit_status or 0) < 0 else "exited"


class ExternalEngine:
    """An OpenAI-compatible engine that somebody else runs.

    Args:
        model: what it is called.
        endpoint: where it is.
        upstream: for the health check.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        model: ServedModel,
        endpoint: Endpoint,
        *,
        upstream: Upstream,
        clock: Callable[[], float],
    ) -> None:
        self.model = model
        self.endpoint = endpoint
        self.breaker = CircuitBreaker(clock)
        self.leases = _Leases()
        self.problem = "the external engine was not asked yet"
        self.ready = False
        self._asked = asyncio.Event()
        self._upstream = upstream
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch it; returns at once."""
        self._task = asyncio.create_task(self._watch(), name="external engine")

    async def first_start(self, seconds: float) -> None:
        """Wait until it was asked once whether it is there, at most so long."""
        await _at_most(seconds, self._asked)

    def stream(self, messages: Sequence[Message], sampling: Sampling, owner: str) -> AsyncGenerator[Piece]:
        """Generate; how its cache keeps keys apart is up to whoever runs it."""
        return self._upstream.stream(self.endpoint, messages, sampling)

    def stalled(self) -> None:
        """Nothing to restart: the breaker does what can be done."""

    async def stop(self, drain_seconds: float) -> None:
        """Wait for running requests, then stop watching."""
        await self.leases.wait_idle(drain_seconds)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self.ready = await self._upstream.answers(self.endpoint)
            self.problem = "" if self.ready else "the external engine does not answer"
            self._asked.set()
            await asyncio.sleep(_HEALTH_EVERY_SECONDS)


async def _at_most(seconds: float, event: asyncio.Event) -> None:
    if event.is_set():
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _endpoint(process: EngineProcess) -> Endpoint:
    return Endpoint(f"{process.base_url}/v1/chat/completions", process.headers, process.spec.alias)
