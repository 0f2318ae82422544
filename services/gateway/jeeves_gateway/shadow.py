"""A candidate that writes along: it gets the champion's prompts, and its answers are judged and thrown away."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from jeeves_gateway.admission import Admission
from jeeves_gateway.errors import UpstreamFailed
from jeeves_gateway.grounding import flaw_of, is_looping, is_refusal
from jeeves_gateway.ladder import Ladder
from jeeves_gateway.outcome import Draft
from jeeves_gateway.serving import ModelRoom
from jeeves_gateway.upstream import Sampling
from jeeves_gateway.writer import AnswerWriter
from jeeves_shared.contracts.prompts import Message
from jeeves_shared.engine.errors import EngineError

logger = logging.getLogger(__name__)


class Shadow:
    """Lets the candidate write along while nobody waits for a slot; readers never wait for it.

    Args:
        room: has the candidate, and what is known of it.
        admission: the queue of those who want an answer.
        ladder: under pressure nothing is written along.
    """

    def __init__(self, room: ModelRoom, admission: Admission, ladder: Ladder) -> None:
        self._canary = room.canary
        self._admission = admission
        self._ladder = ladder
        self._task: asyncio.Task[None] | None = None

    def begin(self, draft: Draft, prompt: Callable[[Draft], tuple[Sequence[Message], Sampling]]) -> None:
        """Write along with an answer that the champion has given, unless another one is being written along."""
        busy = self._task is not None and not self._task.done()
        if busy or self._admission.waiting or self._ladder.step != "full":
            return
        engine = self._canary.shadow(draft.conversation)
        if engine is not None:
            self._task = asyncio.create_task(self._write(engine, draft, *prompt(draft)), name="shadow")

    async def _write(self, engine: Any, draft: Draft, messages: Sequence[Message], sampling: Sampling) -> None:
        writer = AnswerWriter(draft.sources)
        started = time.perf_counter()
        try:
            with engine.leases.hold():
                async with aclosing(engine.stream(messages, sampling, draft.owner)) as out:
                    async for piece in out:
                        writer.feed(piece.text)
                        if writer.repeating or is_looping(writer.raw):
                            break
        except (UpstreamFailed, EngineError) as exc:
            engine.breaker.failure()
            logger.warning("the candidate wrote nothing along", extra={"kind": type(exc).__name__})
            self._canary.observe(engine.model.id, bad=True)
            return
        writer.finish()
        bad = not writer.raw or writer.repeating or is_refusal(writer.raw) or bool(flaw_of(writer.raw, draft.sources))
        self._canary.observe(engine.model.id, bad, time.perf_counter() - started)
