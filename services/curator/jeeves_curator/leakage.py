"""What of the evaluation part stands in text to train on, and the text without it.

Whole questions are looked for anywhere, also where somebody put them into a page; answers by their word 8-grams.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jeeves_curator.documents.blocks import blocks, joined, without_empty_sections
from jeeves_curator.documents.copies import Shingles, ngram_hashes, word_hashes
from jeeves_shared.contracts.documents import Pair

QUESTION_WORDS_MIN = 6
"""Shorter questions are phrases that anybody writes."""

ANSWER_NGRAM_WORDS = 8
"""Source: 8 to 13 words are usual in decontamination; see `split.NGRAM_WORDS`."""

ANSWER_SHARE_MIN = 0.5
"""Share of an evaluation answer's 8-grams in a document from which the document gives it away."""

_ANSWER_GRAMS_MIN = 3
_LONG_QUESTION_GRAMS = 10
_LONG_QUESTION_SHARE_MIN = 0.8
"""A question of so many 6-grams may differ in a word and is still the same."""


@dataclass(frozen=True)
class Leak:
    """Evaluation text that stands in text to train on.

    Attributes:
        pair_id: of the evaluation pair.
        what: `question` or `answer`.
        share: of its word n-grams that were found, in (0, 1].
    """

    pair_id: str
    what: str
    share: float


@dataclass(frozen=True)
class _Wanted:
    pair_id: str
    what: str
    grams: frozenset[int]
    share_min: float

    @property
    def size(self) -> int:
        """Words in each of its n-grams."""
        return QUESTION_WORDS_MIN if self.what == "question" else ANSWER_NGRAM_WORDS


class Exam:
    """The evaluation part, ready to be looked for.

    Args:
        evaluation: its pairs.
    """

    def __init__(self, evaluation: Sequence[Pair]) -> None:
        self._wanted: list[_Wanted] = []
        self._places: dict[int, dict[int, list[int]]] = {QUESTION_WORDS_MIN: {}, ANSWER_NGRAM_WORDS: {}}
        for pair in evaluation:
            asked = _grams(pair.question, QUESTION_WORDS_MIN)
            whole = 1.0 if len(asked) < _LONG_QUESTION_GRAMS else _LONG_QUESTION_SHARE_MIN
            if len(asked):
                self._want(_Wanted(pair.id, "question", frozenset(asked.tolist()), whole))
            told = _grams(pair.answer, ANSWER_NGRAM_WORDS)
            if pair.kind != "refusal" and len(told) >= _ANSWER_GRAMS_MIN:  # All refusals share one answer.
                self._want(_Wanted(pair.id, "answer", frozenset(told.tolist()), ANSWER_SHARE_MIN))
        self._known = {
            size: np.asarray(sorted(places), dtype=np.uint64) for size, places in sorted(self._places.items())
        }

    def _want(self, wanted: _Wanted) -> None:
        for gram in wanted.grams:
            self._places[wanted.size].setdefault(gram, []).append(len(self._wanted))
        self._wanted.append(wanted)

    def leaks(self, text: str) -> list[Leak]:
        """What of the evaluation part a text gives away, the greatest share first."""
        return [leak for leak, _ in self._found(text)]

    def without(self, text: str) -> tuple[str, list[Leak]]:
        """The text without the paragraphs that give something away, and what they gave away.

        Args:
            text: Markdown.
        """
        found = self._found(text)
        if not found:
            return text, []
        wanted = [self._wanted[number] for _, number in found]
        kept = [part for part in blocks(text) if not any(_gives(part.text, one) for one in wanted)]
        return joined(without_empty_sections(kept)), [leak for leak, _ in found]

    def _found(self, text: str) -> list[tuple[Leak, int]]:
        hits: Counter[int] = Counter()
        words = word_hashes(text)
        for size, known in self._known.items():
            grams = np.unique(ngram_hashes(words, size))
            for gram in grams[np.isin(grams, known, assume_unique=True)].tolist():
                hits.update(self._places[size][gram])
        found = [
            (Leak(one.pair_id, one.what, share), number)
            for number, count in hits.items()
            if (share := count / len((one := self._wanted[number]).grams)) >= one.share_min
        ]
        return sorted(found, key=lambda entry: (-entry[0].share, entry[1]))


def _gives(text: str, wanted: _Wanted) -> bool:
    shared = len(wanted.grams.intersection(_grams(text, wanted.size).tolist()))
    return shared >= (1 if wanted.what == "question" else _ANSWER_GRAMS_MIN)


def _grams(text: str, size: int) -> Shingles:
    return ngram_hashes(word_hashes(text), size)
