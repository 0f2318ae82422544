"""From a log to a diagnosis: rules first, then the documentation, and a model if there is one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from jeeves_gateway.answering import Answerer
from jeeves_gateway.diagnosis.console import ConsoleLines
from jeeves_gateway.diagnosis.digest import LogDigest
from jeeves_gateway.diagnosis.masking import Masker
from jeeves_gateway.errors import LogUnreadable, Overloaded, Unavailable, UpstreamFailed
from jeeves_gateway.openai_form import ChatMessage, ChatRequest
from jeeves_gateway.outcome import Outcome
from jeeves_shared.contracts.diagnosis import Diagnosis, DiagnosisPreview, LogFindings, PromptMessage

_FEED_BYTES = 128 * 1024
_PROMPT_EVIDENCE_CHARACTERS = 900
"""Some 250 tokens of the prompt: what three passages and the answer leave of 2,048."""


@dataclass(frozen=True, slots=True)
class ReadLog:
    """A log that was read to its end."""

    findings: LogFindings
    search: str
    masker: Masker


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """A diagnosis, and the answer behind it for its lineage; None if nothing was looked up."""

    diagnosis: Diagnosis
    outcome: Outcome | None


async def read_log(blocks: AsyncIterator[bytes]) -> ReadLog:
    """Read a log in constant memory.

    Raises:
        LogUnreadable: empty, or a damaged gzip.
        BodyTooLarge: too long.
    """
    console, masker = ConsoleLines(), Masker()
    digest = LogDigest(masker)

    def feed(block: bytes) -> None:
        for line in console.feed(block):
            digest.read(line)

    gathered = bytearray()
    async for block in blocks:
        gathered += block
        if len(gathered) >= _FEED_BYTES:
            # In a thread: other requests go on while a long log is read.
            await asyncio.to_thread(feed, bytes(gathered))
            gathered.clear()
    await asyncio.to_thread(feed, bytes(gathered))
    for line in console.finish():
        digest.read(line)
    if not console.lines:
        raise LogUnreadable("The log is empty: send its text, or the file `log` of a build.")
    findings = digest.findings(console.lines, console.size_bytes)
    return ReadLog(findings, digest.search_text(), masker)


def question_about(findings: LogFindings) -> str:
    """What a model is asked: the masked evidence, nothing else of the log."""
    lines, room = [], _PROMPT_EVIDENCE_CHARACTERS
    for evidence in findings.evidence:
        room -= len(evidence.text)
        if room < 0:
            break
        lines.append(evidence.text.strip())
    stage = f" in the stage {findings.failing_stage}" if findings.failing_stage else ""
    said = "\n".join(dict.fromkeys(lines))
    return f"A Jenkins build failed{stage}. What is the cause, and how is it fixed? The console log says:\n{said}"


def _request(findings: LogFindings) -> ChatRequest:
    return ChatRequest(messages=[ChatMessage(role="user", content=question_about(findings))])


def _shown(log: ReadLog) -> LogFindings:
    """The findings for the person who sent the log: users and addresses are back, secrets are not."""
    back = log.masker.restored
    found = log.findings
    return found.model_copy(
        update={
            "cause": back(found.cause),
            "fix": tuple(map(back, found.fix)),
            "failing_stage": back(found.failing_stage),
            "evidence": tuple(
                line.model_copy(update={"text": back(line.text), "stage": back(line.stage)}) for line in found.evidence
            ),
        }
    )


class Diagnoser:
    """Diagnoses logs.

    Args:
        answerer: looks up and explains.
    """

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer

    async def preview(self, log: ReadLog) -> DiagnosisPreview:
        """What a model would see of a log: everything stays masked."""
        messages = await self._answerer.preview(_request(log.findings), log.search or log.findings.cause)
        return DiagnosisPreview(
            findings=log.findings,
            messages=tuple(PromptMessage(role=item["role"], content=item["content"]) for item in messages),
        )

    async def diagnose(self, log: ReadLog, owner: str) -> Diagnosed:
        """The diagnosis, for the key that sent the log.

        Without index, engine or evidence in the documentation the rules speak alone.
        """
        outcome, reasons = None, ["build-succeeded"]
        if log.findings.failure_type != "none":
            outcome, reasons = await self._explanation(log, owner)
        explained = outcome is not None and not outcome.refused
        return Diagnosed(
            Diagnosis(
                id=outcome.response_id if outcome else f"chatcmpl-{uuid.uuid4().hex}",
                findings=_shown(log),
                explanation=log.masker.restored(outcome.text) if outcome and explained else "",
                citations=outcome.citations if outcome else (),
                rung=outcome.rung if outcome and explained else "extractive",
                model=outcome.model.id if outcome and outcome.model else "",
                index_id=outcome.index_id if outcome else "",
                reasons=tuple(reasons),
            ),
            outcome,
        )

    async def _explanation(self, log: ReadLog, owner: str) -> tuple[Outcome | None, list[str]]:
        try:
            search = log.search or log.findings.cause
            # Where a rule names the cause, a small model's words beside it do more harm than good: pages are quoted.
            generate = log.findings.confidence != "high"
            async for event in self._answerer.answer(_request(log.findings), search, owner, generate=generate):
                if isinstance(event, Outcome):
                    return event, list(event.reasons)
        except (Unavailable, Overloaded, UpstreamFailed) as exc:
            return None, [exc.code]
        raise AssertionError("an answer ends with its outcome")
