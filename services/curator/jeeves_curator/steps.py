"""The steps that a pair goes through. Each is small, knows one kind of defect, and names its reason."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from jeeves_curator.duplicates import NearDuplicates, comparable
from jeeves_curator.support import SupportFinder
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.search.tokens import content_tokens

ANSWER_CHARACTERS_MIN = 12
"""Below this an answer is a yes, a no or a fragment. Han characters count double: they say more each."""

NEW_TERMS_MIN = 2
"""Content terms that an answer must add to its question."""

_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f]")
_BLANK_LINES = re.compile(r"\n{3,}")
_MATERIAL = r"(?:tutorial|document|article|guide|passage|text|video|excerpt|snippet|page|section|example)s?"
_CONTEXT_QUESTION = re.compile(
    rf"\b(?:this|these|provided|given|above|previous|following)\s+(?:[\w-]+\s+){{0,2}}{_MATERIAL}\b"
    r"|\bthe\s+(?:tutorial|document|article|passage|guide|video|excerpt|code snippet)s?\b"
    r"|\b(?:described|discussed|listed|shown|outlined|given)\s+(?:above|below|here|earlier)\b"
    r"|\bmentioned\b|\bprovided\s*[?.]|\bexamples\s+provided\b"
    r"|(?:本|该|这个|上述|以上|上面的)(?:教程|文档|文章|章节|页面|示例|例子|视频|指南)",
    re.IGNORECASE,
)
_CONTEXT_ANSWER = re.compile(
    r"\bthis\s+(?:tutorial|document|article|guide|video|section)\b|\b(?:in|of|for|throughout)\s+this\s+page\b"
    r"|\b(?:the\s+)?(?:provided|above|previous)\s+(?:document|section|example|video|tutorial)s?\b|本(?:教程|文档|文)",
    re.IGNORECASE,
)
# Forms that are secrets wherever they stand; redaction proper is the job of the document steps.
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA(?!IOSFODNN7EXAMPLE)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
    r"|\bgithub_pat_\w{60,}|\bxox[abprs]-[A-Za-z0-9-]{20,}|\bAIza[0-9A-Za-z_-]{35}\b|\bglpat-[\w-]{20}\b"
    r"|\b11[0-9a-f]{32}\b|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|://[^\s/:@{}$<]+:[^\s/:@{}$<]{6,}@"
)
_HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class Drop:
    """Why a pair was dropped.

    Attributes:
        pair: as it was then.
        reason: machine-readable.
        detail: for the card: what gave it away.
    """

    pair: Pair
    reason: str
    detail: str = ""


class PairStep(Protocol):
    """A step: gives the pair back, perhaps improved, or the reason to drop it."""

    name: str

    def review(self, pair: Pair) -> Pair | Drop:
        """Look at one pair; pairs come in a fixed order."""


@dataclass
class Review:
    """What came out of the steps."""

    kept: list[Pair] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    entered: Counter[str] = field(default_factory=Counter)

    def reasons(self) -> dict[str, int]:
        """Number of drops by reason."""
        return dict(sorted(Counter(drop.reason for drop in self.drops).items()))


def review_pairs(
    pairs: Iterable[Pair], steps: Sequence[PairStep], watch: Callable[[int], None] = lambda _: None
) -> Review:
    """Take pairs through steps, in order; a dropped pair goes no further.

    Args:
        pairs: in a fixed order; of duplicates the first stays.
        steps: in order.
        watch: told the number of pairs that were looked at.
    """
    result = Review()
    for number, first in enumerate(pairs, start=1):
        current = first
        for step in steps:
            result.entered[step.name] += 1
            outcome = step.review(current)
            if isinstance(outcome, Drop):
                result.drops.append(outcome)
                break
            current = outcome
        else:
            result.kept.append(current)
        watch(number)
    return result


class Normalize:
    """One form for line ends, Unicode composition, blanks and invisible characters; code stays as it is."""

    name = "normalize"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops pairs without a question or an answer: `empty`."""
        question = " ".join(_clean(pair.question).split())
        answer = _clean(pair.answer)
        if not question or not answer:
            return Drop(pair, "empty")
        return pair.model_copy(update={"question": question, "answer": answer})


def _clean(text: str) -> str:
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


class AnswerLength:
    """Answers that are too long to learn from or too short to say anything.

    Args:
        characters_max: longest answer.
    """

    name = "answer-length"

    def __init__(self, characters_max: int) -> None:
        self._characters_max = characters_max

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `answer-too-long` or `answer-too-short`."""
        length = len(pair.answer)
        if length > self._characters_max:
            return Drop(pair, "answer-too-long", f"{length} characters")
        if pair.kind != "refusal" and length + len(_HAN.findall(pair.answer)) < ANSWER_CHARACTERS_MIN:
            return Drop(pair, "answer-too-short", f"{length} characters")
        return pair


class ContextBound:
    """Questions and answers that lean on a text that the reader does not have before them."""

    name = "context-bound"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `context-bound`."""
        found = _CONTEXT_QUESTION.search(pair.question) or _CONTEXT_ANSWER.search(pair.answer)
        return Drop(pair, "context-bound", found.group()) if found else pair


class Trivial:
    """Answers that repeat their question."""

    name = "trivial"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `trivial`."""
        if pair.kind == "refusal":
            return pair
        asked = {token.term for token in content_tokens(pair.question)}
        new = {token.term for token in content_tokens(pair.answer)} - asked
        return Drop(pair, "trivial", f"{len(new)} new terms") if len(new) < NEW_TERMS_MIN else pair


class Secrets:
    """Keys and passwords must never be learnt."""

    name = "secrets"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `secret`; the detail never holds it, nor does the pair that is kept for the card."""
        if not _SECRET.search(f"{pair.question}\n{pair.answer}"):
            return pair
        return Drop(pair.model_copy(update={"question": "[secret removed]", "answer": "[secret removed]"}), "secret")


class DocumentKnown:
    """Pairs whose document is not in the collection can be neither checked nor cited.

    Args:
        knows: True for the path of a document that is there.
    """

    name = "document-known"

    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `document-missing`."""
        if pair.kind == "refusal" or self._knows(pair.source_path):
            return pair
        return Drop(pair, "document-missing", pair.source_path)


class Duplicates:
    """The same question again, whatever the answer.

    Args:
        similarity: Jaccard similarity of character 5-grams from which two questions are the same.
    """

    name = "duplicates"

    def __init__(self, similarity: float) -> None:
        self._exact: dict[str, str] = {}
        self._near = NearDuplicates(similarity)

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `duplicate` or `near-duplicate`."""
        key = comparable(pair.question)
        if key in self._exact:
            return Drop(pair, "duplicate", f"of {self._exact[key]}")
        if (other := self._near.find(pair.question)) is not None:
            return Drop(pair, "near-duplicate", f"of {other}")
        self._exact[key] = pair.id
        self._near.add(pair.id, pair.question)
        return pair


class Supported:
    """The answer must stand in its document; the section where it does and its key terms are noted in the pair.

    Args:
        finder: looks for the section.
    """

    name = "supported"

    def __init__(self, finder: SupportFinder) -> None:
        self._finder = finder

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `unsupported`."""
        if pair.kind == "refusal":
            return pair
        support = self._finder.find(pair)
        if support is None:
            return Drop(pair, "unsupported")
        key_terms = pair.key_terms or self._finder.key_terms(pair, support.section)
        return pair.model_copy(update={"section": support.section.passage.section, "key_terms": key_terms})
