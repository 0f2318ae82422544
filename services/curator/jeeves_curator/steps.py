"""The steps that a pair goes through. Each is small, knows one kind of defect, and names its reason."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from jeeves_curator.documents.poison import suspicion
from jeeves_curator.duplicates import NearDuplicates, comparable, grams, literals, similarity
from jeeves_curator.redaction import Redactor, scan
from jeeves_curator.support import SupportFinder
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.search.embedding import VOCABULARY, Vectors, load_embedder
from jeeves_shared.search.tokens import content_tokens

ANSWER_CHARACTERS_MIN = 12
"""Below this an answer is a yes, a no or a fragment. Han characters count double: they say more each."""

NEW_TERMS_MIN = 2
"""Content terms that an answer must add to its question."""

_SAME_ANSWER_MIN = 0.3
"""Jaccard of the answers' 5-grams: two near questions with answers that share nothing ask for two things."""

_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff\x00-\x08\x0b\x0c\x0e-\x1f]")
_BLANK_LINES = re.compile(r"\n{3,}")
_MATERIAL = r"(?:tutorial|document|article|guide|passage|text|video|excerpt|snippet|page|section|example)s?"
_CONTEXT_QUESTION = re.compile(
    rf"\b(?:this|these|provided|given|above|previous|following)\s+(?:[\w/-]+\s+){{0,3}}{_MATERIAL}\b"
    r"|\bthe\s+(?:provided|given|example|sample|forked)\s+(?:[\w/-]+\s+)?[\w-]+\b"
    r"|\bthis\s+(?:[\w-]+\s+)?documentation\b|\bthe\s+[\"“'][^\"”'\n]+[\"”']\s+stages?\b|\bthe\s+(?:(?!of\b)[\w/-]+\s+){1,3}tutorials?\b"
    r"|\b(?:resources|information|examples|details|advice)\s+(?:is|are)\s+provided\b|\bsection\s+about\s*\?"
    r"|\bthe\s+(?:tutorial|document|article|passage|guide|video|excerpt|code snippet)s?\b"
    r"|\b(?:described|discussed|listed|shown|outlined|given)\s+(?:above|below|here|earlier)\b"
    r"|\bmentioned\b|\bprovided\s*[?.]|\bexamples\s+provided\b"
    r"|(?:本|该|这个|上述|以上|上面的)(?:教程|文档|文章|章节|页面|示例|例子|视频|指南)",
    re.IGNORECASE,
)
_CONTEXT_ANSWER = re.compile(
    r"\bthis\s+(?:tutorial|document|article|guide|video|section)\b|\b(?:in|of|for|throughout)\s+this\s+page\b"
    r"|\b(?:the\s+)?(?:provided|above|previous)\s+(?:document|section|example|video|tutorial)s?\b|本(?:教程|文档|文)"
    r"|\b(?:provided|shown|given|listed)\s+in\s+the\s+(?:\w+\s+)?examples?\b",
    re.IGNORECASE,
)
_REFERRAL = re.compile(
    r"\b(?:refer(?:ring)?\s+to|consult(?:ing)?|see)\s+the\s+(?:[\w-]+\s+){0,4}(?:documentation|guide|manual|page|section)\b",
    re.IGNORECASE,
)
_ASKS_WHERE = re.compile(r"\b(?:where|refer|which\s+(?:page|document|guide|section))\b", re.IGNORECASE)
_REFERRAL_WORDS_MAX = 24
"""Up to so many words an answer that sends its reader elsewhere says nothing else."""
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
        question = _clean(pair.question)
        if "\n\n" not in question and "```" not in question:  # Threads ask in paragraphs and with code.
            question = " ".join(question.split())
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
        if not found and len(pair.answer.split()) <= _REFERRAL_WORDS_MAX and not _ASKS_WHERE.search(pair.question):
            found = _REFERRAL.search(pair.answer)
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


class Suspicious:
    """Pairs that give orders to a model; a refusal's question may, for that is what it refuses."""

    name = "quarantine"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `injection`, `control-token` or `invisible-characters`; comes before hidden characters are gone."""
        found = None if pair.kind == "refusal" else suspicion(f"{pair.question}\n{pair.answer}")
        return Drop(pair, *found) if found else pair


class RedactPair:
    """Secrets and personal data out of pairs: placeholders in the question, and in the answer for what is personal.

    An answer with a secret is dropped: a model must learn neither the secret nor to write placeholders for it.
    """

    name = "redact"

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `secret`; the detail never holds it, nor does the pair that is kept for the card."""
        redactor = Redactor("question")
        question, answer = redactor.redact(pair.question), redactor.redact(pair.answer)
        if not redactor.found:
            return pair
        if any(finding.group == "secret" for finding in scan(pair.answer, "question")):
            return Drop(
                pair.model_copy(update={"question": "[secret removed]", "answer": "[secret removed]"}), "secret"
            )
        terms, wrong = redactor.redact_all(pair.key_terms), redactor.redact_all(pair.must_not)
        return pair.model_copy(update={"question": question, "answer": answer, "key_terms": terms, "must_not": wrong})


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


class SameQuestion:
    """The same question in other words, by the nearness of their embeddings: about one document, or in two threads.

    Args:
        similarity: cosine from which two questions are the same, in (0, 1].
        threads: paths of the documents that are threads; their first paragraphs, the titles, are compared.
    """

    name = "same-question"

    def __init__(self, similarity: float, threads: Container[str] = frozenset()) -> None:
        self._similarity = similarity
        self._threads = threads
        self._known: dict[str, list[Pair]] = {}
        self._vectors: dict[str, Vectors] = {}

    def review(self, pair: Pair) -> Pair | Drop:
        """Drops as `same-question`; questions that differ in a number, a version or code never are."""
        is_thread = pair.source_path in self._threads
        group = "threads" if is_thread else pair.source_path or "refusals"
        earlier = self._known.setdefault(group, [])
        asked = _asked(pair, is_thread)
        vector = load_embedder().embed([comparable(asked)], np.ones(VOCABULARY, dtype=np.float32))[0]
        known = self._vectors.get(group, np.zeros((0, len(vector)), dtype=np.float32))
        for number in np.flatnonzero(known[: len(earlier)] @ vector >= self._similarity).tolist():
            other = earlier[number]
            # Two threads answer one question in words of their own; about one page like answers are asked for.
            if literals(_asked(other, is_thread)) == literals(asked) and (is_thread or _same_answer(other, pair)):
                return Drop(pair, "same-question", f"of {other.id}")
        if len(earlier) == len(known):
            known = np.concatenate((known, np.zeros((max(8, len(known)), len(vector)), dtype=np.float32)))
        known[len(earlier)] = vector
        self._vectors[group] = known
        earlier.append(pair)
        return pair


def _asked(pair: Pair, is_thread: bool) -> str:
    return pair.question.partition("\n\n")[0] if is_thread else pair.question


def _same_answer(one: Pair, other: Pair) -> bool:
    return (
        literals(one.answer) == literals(other.answer)
        and similarity(grams(one.answer), grams(other.answer)) >= _SAME_ANSWER_MIN
    )


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
