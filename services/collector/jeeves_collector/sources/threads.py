"""A question with its answers, from wherever it comes, as one document."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jeeves_collector.encoding import language_of
from jeeves_collector.markdown import scan_fences
from jeeves_shared.contracts.base import canonical_json
from jeeves_shared.contracts.documents import CollectedAnswer, Document, Provenance


@dataclass(frozen=True)
class Thread:
    """What all sources of questions have.

    Attributes:
        source_path: of the document.
        title: plain text.
        question: Markdown.
        answers: in the order of the source.
        url: of the question.
        author: of the question.
        licence: SPDX identifier.
        tags, score: of the question.
        section_path: such as site or category.
        route: how it came, where terms differ by the way.
        revision: such as the time of its last activity.
        raw: what the source gave, for the hash.
    """

    source_path: str
    title: str
    question: str
    answers: tuple[CollectedAnswer, ...]
    url: str
    author: str
    licence: str
    raw: Any
    tags: tuple[str, ...] = ()
    score: int = 0
    section_path: tuple[str, ...] = ()
    route: str = ""
    revision: str = ""


def document(thread: Thread, retrieved_at: datetime) -> Document:
    """The document of a thread.

    Args:
        thread: from the source.
        retrieved_at: UTC.
    """
    text = thread_text(thread.title, thread.question, thread.answers)
    return Document(
        source_path=thread.source_path,
        title=thread.title,
        section_path=thread.section_path,
        language=language_of(text),
        kind="question",
        text=text,
        question=thread.question,
        answers=thread.answers,
        tags=thread.tags,
        score=thread.score,
        provenance=Provenance(
            url=thread.url,
            retrieved_at=retrieved_at,
            licence=thread.licence,
            author=thread.author,
            sha256=hashlib.sha256(canonical_json(thread.raw).encode("utf-8", errors="surrogatepass")).hexdigest(),
            source_revision=thread.revision,
            route=thread.route,
        ),
    )


def code_blocks(made: Document) -> int:
    """How many fenced blocks a document has; for threads whose text came as Markdown."""
    return len(scan_fences(made.text)[0])


def thread_text(title: str, question: str, answers: Sequence[CollectedAnswer]) -> str:
    """Markdown of a question and its answers: the accepted one first, then by score."""
    parts = [f"# {title}", question]
    ordered = sorted(answers, key=lambda answer: (not answer.accepted, -answer.score))
    for number, answer in enumerate(ordered, start=1):
        accepted = "accepted, " if answer.accepted else ""
        parts.extend((f"## Answer {number} ({accepted}score {answer.score})", answer.text))
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def utc(seconds: float) -> datetime:
    """A time stamp in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def one_line(text: Any) -> str:
    """Text without line ends, and without what no text has."""
    return " ".join(str(text or "").replace("\0", "").split())
