"""What a step on documents is. Each is small, knows one kind of defect, and names one reason per drop.

A step looks at one document and at nothing else, so that the same class runs here and on a cluster, shard by shard
(`reviewed`). What needs all documents is in `poison` (floods), `staleness` and `copies`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from jeeves_curator.redaction import Redactor
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.curation import DocumentDrop, StepCount
from jeeves_shared.contracts.documents import Document
from jeeves_shared.contracts.prompts import neutralize_control_tokens

_EXCERPT_CHARACTERS = 240
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f\x00-\x08\x0b-\x1f]")


@dataclass(frozen=True)
class Unit:
    """A document on its way through the steps.

    Attributes:
        document: as it is now.
        sha256: of the text as it came.
        redactions: replaced items by kind.
        paragraph_drops: what was left out of it.
        salvaged: True if it failed as a whole and only its good paragraphs are left.
        outdated: terms that are no longer current.
    """

    document: Document
    sha256: str
    redactions: dict[str, int] = field(default_factory=dict)
    paragraph_drops: tuple[DocumentDrop, ...] = ()
    salvaged: bool = False
    outdated: tuple[str, ...] = ()

    def with_text(self, text: str) -> "Unit":
        """The unit with another text."""
        if text == self.document.text:
            return self
        return replace(self, document=self.document.model_copy(update={"text": text}))


class DocumentStep(Protocol):
    """A step: gives the unit back, perhaps improved, or the reason to drop its document."""

    name: str

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Look at one document."""


@dataclass
class Reviewed:
    """What came out of the steps."""

    kept: list[Unit] = field(default_factory=list)
    drops: list[DocumentDrop] = field(default_factory=list)
    counts: dict[str, StepCount] = field(default_factory=dict)

    def count(self, step: str, dropped: str = "", changed: bool = False) -> None:
        """Note that a document went through a step.

        Args:
            step: its name.
            dropped: the reason, if it was dropped.
            changed: True if it was changed.
        """
        known = self.counts.get(step) or StepCount(step=step, entered=0)
        reasons = dict(known.dropped)
        if dropped:
            reasons[dropped] = reasons.get(dropped, 0) + 1
        self.counts[step] = StepCount(
            step=step, entered=known.entered + 1, dropped=reasons, changed=known.changed + changed
        )


def review_documents(
    documents: Iterable[Document], steps: Sequence[DocumentStep], watch: Callable[[int], None] = lambda _: None
) -> Reviewed:
    """Take documents through steps, in order; a dropped one goes no further.

    Args:
        documents: any number.
        steps: in order.
        watch: told the number of documents that were looked at.
    """
    result = Reviewed()
    for number, document in enumerate(documents, start=1):
        current = Unit(document, content_hash(document.text))
        for step in steps:
            outcome = step.review(current)
            if isinstance(outcome, DocumentDrop):
                result.count(step.name, outcome.reason)
                result.drops.append(outcome)
                break
            result.count(step.name, changed=outcome != current)
            current = outcome
        else:
            result.kept.append(current)
        watch(number)
    return result


def dropped(step: str, document: Document, reason: str, detail: str = "", copy_of: str = "") -> DocumentDrop:
    """The record of a drop; its excerpt is safe to show."""
    return DocumentDrop(
        source_path=document.source_path,
        step=step,
        reason=reason,
        detail=detail,
        copy_of=copy_of,
        excerpt=excerpt(document.text, document),
    )


def excerpt(text: str, document: Document) -> str:
    """The beginning of a text, without secrets, control tokens and invisible characters."""
    shown = _INVISIBLE.sub("", " ".join(text[: 4 * _EXCERPT_CHARACTERS].split()))
    return neutralize_control_tokens(Redactor(document.kind).redact(shown)[:_EXCERPT_CHARACTERS])


class Redact:
    """Secrets and personal data out of titles, texts and addresses; nothing is dropped for them."""

    name = "redact"

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Replaces; see `jeeves_curator.redaction`."""
        document = unit.document
        redactor = Redactor(document.kind)
        text, title = redactor.redact(document.text), redactor.redact(document.title)
        provenance = document.provenance
        url = redactor.redact(provenance.url)
        question = redactor.redact(document.question)
        answers = tuple(answer.model_copy(update={"text": redactor.redact(answer.text)}) for answer in document.answers)
        if not redactor.found:
            return unit
        changed = document.model_copy(
            update={
                "text": text,
                "title": title,
                "question": question,
                "answers": answers,
                "provenance": provenance.model_copy(update={"url": url}),
            }
        )
        return replace(unit, document=changed, redactions=dict(sorted(Counter(redactor.found).items())))
