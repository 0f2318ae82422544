"""Answers one question: search, judge the evidence, generate, check, cite; down the ladder where a step cannot be done.

    full        retrieval and the champion
    reduced     the champion without sources (asked for by the client), or with half the length (under pressure)
    cached      an answer that the same model gave before to the same question from the same index
    extractive  the best passages, quoted
    (Unavailable is raised when not even those can be had.)

Events come out in order: one `Opened`, then `Text`s, then one `Outcome`. Nothing was sent before `Opened`, so anything
that fails before it can still move down the ladder; what fails after it ends in an exception.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from jeeves_gateway.admission import Admission
from jeeves_gateway.answer_cache import AnswerCache
from jeeves_gateway.canary import is_bad
from jeeves_gateway.citations import CitedText
from jeeves_gateway.decoding import sampling_of
from jeeves_gateway.errors import (
    AnswerWithheld,
    Overloaded,
    PromptTooLong,
    Unavailable,
    UpstreamFailed,
    UpstreamStalled,
)
from jeeves_gateway.evidence import judge, refusal_text
from jeeves_gateway.features import FeatureSwitches
from jeeves_gateway.given import among
from jeeves_gateway.grounding import flaw_of, is_looping, is_refusal, may_become_refusal
from jeeves_gateway.history import EXCHANGES, recent_exchanges, search_text
from jeeves_gateway.hygiene import PromptGuard, clean_passage
from jeeves_gateway.ladder import Ladder
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.openai_form import ChatRequest
from jeeves_gateway.outcome import Draft, Event, Opened, Outcome, Text
from jeeves_gateway.passages import SourceSet
from jeeves_gateway.quotation import far_behind, note_unknown, quotation, speaks_of_made_up_syntax
from jeeves_gateway.quoting import append_source, is_chinese, write_extract
from jeeves_gateway.retrieval import Library
from jeeves_gateway.scope import outside, outside_text
from jeeves_gateway.serving import ModelRoom
from jeeves_gateway.shadow import Shadow
from jeeves_gateway.switches import RungSwitch
from jeeves_gateway.upstream import Sampling
from jeeves_gateway.writer import AnswerWriter
from jeeves_shared.contracts.answers import Rung
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT, Message, build_messages

_FIRST_START_SECONDS_MAX = 15.0
"""A question that comes while a new gateway still loads its model waits, rather than getting less than it could."""


class Answerer:
    """Answers questions.

    Args:
        library: the index.
        room: the engines.
        admission: the queue in front of them.
        ladder: the rung at which answers begin.
        switch: the operator's pin.
        features: what the operator has switched off.
        metrics: gets everything that is counted.
        answer_tokens_max: longest generated answer.
        quote_sources: put the section under a generated answer that it rests on.
        history_exchanges: earlier exchanges that go into a prompt.
        guard: keeps the system prompt in.
    """

    def __init__(
        self,
        *,
        library: Library,
        room: ModelRoom,
        admission: Admission,
        ladder: Ladder,
        switch: RungSwitch,
        features: FeatureSwitches,
        metrics: GatewayMetrics,
        answer_tokens_max: int,
        quote_sources: bool,
        history_exchanges: int = EXCHANGES,
        guard: PromptGuard | None = None,
    ) -> None:
        self._library = library
        self._room = room
        self._admission = admission
        self._ladder = ladder
        self._switch = switch
        self._features = features
        self._metrics = metrics
        self._answer_tokens_max = answer_tokens_max
        self._quote_sources = quote_sources
        self._history_exchanges = history_exchanges
        self._guard = guard or PromptGuard()
        self._shadow = Shadow(room, admission, ladder)
        self._cache = AnswerCache()

    async def answer(
        self, request: ChatRequest, search: str = "", owner: str = "", *, generate: bool = True
    ) -> AsyncGenerator[Event]:
        """Answer one request.

        Args:
            request: what was asked.
            search: what to look up; empty for the question itself.
            owner: id of the key that asks; answers are never shared between keys.
            generate: whether a model is wanted; without one the sources are quoted.

        Raises:
            Unavailable: no rung can answer.
            Overloaded: no slot, and the client wants no fallback.
            UpstreamFailed: the engine failed after text was sent, or the client wants no fallback.
        """
        async with aclosing(self._steps(request, search, owner, generate)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    self._count(event)
                yield event

    async def preview(self, request: ChatRequest, search: str = "") -> list[Message]:
        """Exactly what the engine would be sent; without an index, without sources. Nothing is generated."""
        retrieved = await self._library.search(search or search_text(request.messages))
        passages = [clean_passage(hit.passage) for hit in retrieved.found[:PASSAGES_IN_PROMPT]] if retrieved else []
        return self._messages(request, passages)

    def _messages(self, request: ChatRequest, passages: Sequence[Passage]) -> list[Message]:
        return self._guard.messages(
            build_messages(request.question, passages, recent_exchanges(request.messages, self._history_exchanges))
        )

    def _prompt(self, draft: Draft) -> tuple[list[Message], Sampling]:
        sampling = sampling_of(draft.request, self._answer_tokens_max, self._ladder.step)
        return self._messages(draft.request, draft.sources.passages), sampling

    async def _steps(self, request: ChatRequest, search: str, owner: str, generate: bool) -> AsyncGenerator[Event]:
        pinned = self._switch.rung()
        if pinned == "unavailable":
            raise Unavailable("The operator has switched answers off for now.", 60)
        if not request.jeeves.fallback:
            self._admission.check()
        draft = await self._begin(request, search)
        draft.owner = owner
        if whole := self._without_model(draft, generate):
            for event in whole:
                yield event
            return
        opened = False
        try:
            if pinned in ("extractive", "cached"):
                raise Unavailable(f"The operator has pinned the rung {pinned}.", 60)
            self._features.require("generation")
            if self._ladder.step == "extractive":
                raise Unavailable("Memory is nearly used up: nothing is generated for now.", 10)
            async with aclosing(self._generate(draft)) as events:
                async for event in events:
                    opened = True
                    if isinstance(event, Outcome) and draft.asked is not None:
                        self._room.canary.observe(draft.asked.id, is_bad(event), draft.asked_seconds)
                        self._shadow.begin(draft, self._prompt)
                    yield event
            return
        except (Unavailable, Overloaded, UpstreamFailed) as exc:
            if draft.asked is not None and isinstance(exc, UpstreamFailed):
                self._room.canary.observe(draft.asked.id, bad=True)
            if opened or not request.jeeves.fallback or draft.retrieved is None:
                raise
            draft.reasons.append(f"pinned-{pinned}" if pinned else exc.code)
            self._metrics.degradations.labels(draft.reasons[-1]).inc()
        for event in self._without_engine(draft):
            yield event

    def _without_model(self, draft: Draft, generate: bool) -> list[Event]:
        """The refusal of a question that the sources cannot answer, or a quotation; empty if a model is to answer."""
        events = self._refusal_or_quotation(draft, generate)
        if not events and not generate:
            raise Unavailable("The sources hold nothing that can be quoted on this.", 60)
        return events

    def _refusal_or_quotation(self, draft: Draft, generate: bool) -> list[Event]:
        retrieved = draft.retrieved
        if retrieved is None:
            return []
        if not draft.searched and (why := outside(draft.request.question)):
            text = outside_text(draft.request.question, why, retrieved.documents, retrieved.sections)
            return self._refuse(draft, why, text)
        judgement = judge(draft.question, retrieved, heed_unknown=not draft.searched)
        draft.strong = judgement.strong
        if judgement.enough:
            reason = "made-up-syntax" if speaks_of_made_up_syntax(draft) else "" if generate else "rule-is-sure"
            return self._instead(draft, reason) if reason else []
        text = refusal_text(draft.question, judgement, retrieved.documents, retrieved.sections)
        return self._refuse(draft, judgement.reason, text)

    async def _begin(self, request: ChatRequest, search: str) -> Draft:
        text = search or search_text(request.messages)
        if not request.jeeves.retrieval or self._features.is_off("retrieval"):
            return Draft(request, text, None, SourceSet(request.question, ()))
        retrieved = await self._library.search(text)
        if retrieved is None:
            self._metrics.refusals.labels("no-index").inc()
            raise Unavailable("No search index is served yet: it comes with the first `jeeves curate`.", 10)
        found = among([hit.passage for hit in retrieved.found], request.jeeves.passages, PASSAGES_IN_PROMPT)
        passages, wholes = map(clean_passage, found), [clean_passage(retrieved.whole(item)) for item in found]
        sources = SourceSet(f"{text}\n{request.question}" if search else text, tuple(passages), wholes)
        return Draft(request, text, retrieved, sources, searched=bool(search))

    def _refuse(self, draft: Draft, reason: str, text: str) -> list[Event]:
        self._metrics.refusals.labels(reason).inc()
        draft.model = self._room.model
        draft.reasons.append(reason)
        outcome = draft.outcome(CitedText((), text), "full", refused=True, grounded=True)
        return [Opened(draft.response_id, "full", draft.model), Text(text), outcome]

    def _without_engine(self, draft: Draft) -> list[Event]:
        draft.model = self._room.model
        again = self._cache.find(draft, draft.model)
        if again is not None:
            return [Opened(draft.response_id, "cached", draft.model), Text(again.text), again]
        events = self._quoted(draft)
        if not events:
            raise Unavailable("The engine is down, and the sources hold nothing that can be quoted.", 5)
        return events

    @staticmethod
    def _quoted(draft: Draft) -> list[Event]:
        """The sources, quoted; empty if nothing can be."""
        cited = quotation(draft)
        if cited is None:
            return []
        draft.finish_reason = "stop"
        return [
            Opened(draft.response_id, "extractive", draft.model),
            Text(cited.text),
            draft.outcome(cited, "extractive", grounded=True),
        ]

    async def _generate(self, draft: Draft) -> AsyncGenerator[Event]:
        """Ask the engine. In a stream text goes out as it comes; otherwise a bad answer is replaced unseen."""
        started = time.perf_counter()
        writer, watch = AnswerWriter(draft.sources), self._guard.watch()
        note = note_unknown(draft, writer.cited)
        rung: Rung = "full" if draft.retrieved is not None and self._ladder.step == "full" else "reduced"
        if self._ladder.step != "full":
            draft.reasons.append(f"pressure-{self._ladder.reason}")
            self._metrics.degradations.labels(draft.reasons[-1]).inc()
        async with self._admission.slot(), self._room.lease(draft.conversation) as engine:
            self._metrics.queue_wait_seconds.observe(time.perf_counter() - started)
            draft.model = draft.asked = engine.model
            await engine.first_start(_FIRST_START_SECONDS_MAX)
            if not engine.ready or not engine.breaker.allow():
                raise Unavailable("The engine is not ready.", 2)
            async with aclosing(self._engine_text(draft, engine, started)) as pieces:
                held, opened = note, False
                async for piece in pieces:
                    held += writer.feed(piece)
                    if watch.leaks(piece):
                        raise AnswerWithheld("The engine's answer repeated its instructions and was withheld.")
                    # What may become a refusal is held back: it may be overruled. So is what may become a leak.
                    if draft.request.stream and held and not (may_become_refusal(writer.raw) or watch.may_leak):
                        if not opened:
                            yield Opened(draft.response_id, rung, draft.model)
                        yield Text(held)
                        held, opened = "", True
                    if writer.repeating or is_looping(writer.raw):
                        break
        if not writer.raw:
            # Nothing at all came: nothing was sent either, so the ladder can still step down.
            raise UpstreamFailed("The engine wrote nothing.")
        rest = held + writer.finish()
        overruled = not opened and draft.strong and is_refusal(writer.raw)
        if overruled and (quoted := self._instead(draft, "refusal-overruled")):
            self._metrics.degradations.labels("refusal-overruled").inc()
            for event in quoted:
                yield event
            return
        if draft.request.stream and not opened:
            yield Opened(draft.response_id, rung, draft.model)
        for event in self._conclude(draft, writer, rung, rest):
            yield event

    def _instead(self, draft: Draft, reason: str) -> list[Event]:
        """The sources, quoted, where a model's words are not wanted; empty if nothing can be quoted."""
        draft.model = draft.model or self._room.model
        draft.reasons.append(reason)
        events = self._quoted(draft)
        if not events:
            draft.reasons.remove(reason)
        return events

    async def _engine_text(self, draft: Draft, engine: Any, started: float) -> AsyncGenerator[str]:
        """The engine's pieces of text, with its breaker and the clocks told about it."""
        messages, sampling = self._prompt(draft)
        begun = time.perf_counter()
        first_at = last_at = 0.0
        pieces = 0
        try:
            async with aclosing(engine.stream(messages, sampling, draft.owner)) as stream:
                async for piece in stream:
                    if piece.completion_tokens:
                        draft.prompt_tokens, draft.completion_tokens = piece.prompt_tokens, piece.completion_tokens
                        draft.cached_tokens = piece.cached_tokens
                    draft.finish_reason = piece.finish_reason or draft.finish_reason
                    if not piece.text:
                        continue
                    last_at = time.perf_counter()
                    if not pieces:
                        first_at = last_at
                        self._metrics.first_token_seconds.observe(first_at - started)
                    pieces += piece.events
                    yield piece.text
        except PromptTooLong:
            engine.breaker.success()
            raise
        except UpstreamFailed as exc:
            engine.breaker.failure()
            if isinstance(exc, UpstreamStalled):
                engine.stalled()
            raise
        except BaseException:
            # The client went away, or the answer was cut short: nothing more about the engine is known.
            draft.completion_tokens = pieces
            engine.breaker.abandoned()
            raise
        finally:
            draft.asked_seconds = time.perf_counter() - begun
            # Also of answers that were cut short: with a small model those are the most.
            if pieces > 1:
                self._metrics.output_token_seconds.observe((last_at - first_at) / (pieces - 1))
        engine.breaker.success()

    def _conclude(self, draft: Draft, writer: AnswerWriter, rung: Rung, rest: str) -> list[Event]:
        """Check what was written; repair or replace it; the last events of a generated answer."""
        cited = writer.cited
        before: list[Event] = [Text(rest)] if rest and draft.request.stream else []
        if draft.retrieved is not None and is_refusal(writer.raw):
            # The model says that the sources have no answer: then they are not cited for it either.
            self._metrics.refusals.labels("model").inc()
            draft.reasons.append("model")
            plain = CitedText((), cited.text if draft.request.stream else writer.raw.strip())
            return [*before, *self._closing(draft, plain, rung, refused=True, grounded=True)]
        flaw = "repeating" if writer.repeating else flaw_of(writer.raw, draft.sources)
        if flaw is None and self._quote_sources and not draft.request.stream and cited.used and 0 not in cited.used:
            # Of 16 such answers of the default model the search had the right page first in 14; most were wrong.
            flaw = "second-best"
        if writer.code_replaced and (flaw is None or draft.request.stream):
            draft.reasons.append("code-replaced")
        if flaw is not None:
            draft.reasons.append(flaw)
            self._metrics.degradations.labels(flaw).inc()
            return [*before, *self._repair(draft, cited, rung)]
        if draft.retrieved is not None and self._quote_sources and not draft.request.limited:
            added = append_source(cited, draft.question)
            before += [Text(added)] if added and draft.request.stream else []
        events = self._closing(draft, cited, rung, grounded=True if draft.retrieved else None)
        if isinstance(events[-1], Outcome) and rung == "full":
            self._cache.keep(draft, self._room.model, events[-1])
        return [*before, *events]

    def _repair(self, draft: Draft, cited: CitedText, rung: Rung) -> list[Event]:
        """What follows a bad answer: after what was streamed the quotation is added, otherwise it takes its place."""
        if draft.retrieved is None:
            return self._closing(draft, cited, rung, grounded=False)
        if not draft.request.stream:
            return self._quoted(draft) or self._closing(draft, cited, rung, grounded=False)
        lead = (
            "以上回答没有完全得到来源支持。来源原文："
            if is_chinese(draft.question)
            else ("The sources do not support all of the answer above. They say:")
        )
        start = len(cited.text)
        cited.add(f"\n\n---\n\n{lead}\n\n")
        if not write_extract(cited, draft.question, far_behind(draft)):
            return self._closing(draft, cited, rung, grounded=False)
        return [Text(cited.text[start:]), *self._closing(draft, cited, rung, grounded=False)]

    def _closing(
        self, draft: Draft, cited: CitedText, rung: Rung, refused: bool = False, grounded: bool | None = None
    ) -> list[Event]:
        outcome = draft.outcome(cited, rung, refused, grounded)
        return (
            [outcome]
            if draft.request.stream
            else [Opened(draft.response_id, rung, draft.model), Text(cited.text), outcome]
        )

    def clear_cache(self) -> int:
        """Forget all answers that are kept for the rung `cached`; how many there were."""
        return self._cache.clear()

    def _count(self, outcome: Outcome) -> None:
        self._metrics.answers.labels(outcome.rung, outcome.model.id if outcome.model else "none").inc()
