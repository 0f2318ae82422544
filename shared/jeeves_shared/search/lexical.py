"""The lexical half of a search: a question's postings, BM25 of sections and pages, coverage."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jeeves_shared.search.arrays import Array
from jeeves_shared.search.schema import rarity
from jeeves_shared.search.tokens import STOP_WORDS, Token, content_tokens
from jeeves_shared.search.vectors import Positions, Vector, top

QUESTION_TERMS_MAX = 64
"""A pasted log is not a question: what comes after is not looked up, so that its search takes no longer."""

PART_WEIGHT = 0.5
"""Of the parts of a compound in the question: `withCredentials` is more than `with` and `credentials`."""

POSTINGS_MAX = 400_000
"""Postings added up in full, rarest terms first. The commoner terms of a question, in large collections only, count for
the `RESCORED` best sections so far: alone they could not lift a section among the first."""

RESCORED = 4_000


@dataclass(frozen=True)
class Posting:
    """Texts with a term.

    Attributes:
        rarity: inverse document frequency, > 0.
        positions: of the texts, ascending.
        contributions: BM25 of the term in each.
    """

    rarity: float
    positions: npt.NDArray[np.uint32]
    contributions: npt.NDArray[np.float16]

    def at(self, positions: Positions) -> Vector:
        """Contributions at some positions, 0 where the term is not."""
        found, places = self._places(positions)
        return np.where(found, self.contributions[places] if len(self.positions) else 0, 0).astype(np.float32)

    def holds(self, positions: Positions) -> npt.NDArray[np.bool_]:
        """Where of some positions the term is."""
        return self._places(positions)[0]

    def _places(self, positions: Positions) -> tuple[npt.NDArray[np.bool_], Positions]:
        if len(self.positions) == 0:
            return np.zeros(len(positions), dtype=np.bool_), np.zeros(len(positions), dtype=np.intp)
        places = np.minimum(np.searchsorted(self.positions, positions), len(self.positions) - 1)
        return self.positions[places] == positions, places


@dataclass(frozen=True)
class Question:
    """What is looked for, with the postings of every term and part."""

    tokens: list[Token]
    sections: dict[str, Posting]
    pages: dict[str, Posting]

    @property
    def weight(self) -> float:
        """Rarity of all its terms together."""
        return sum(self.sections[token.term].rarity for token in self.tokens)

    def share(self, term: str) -> float:
        """A part of a compound counts by `PART_WEIGHT`, unless it is asked for itself."""
        return 1.0 if any(token.term == term for token in self.tokens) else PART_WEIGHT


class Lexicon:
    """The inverted index of a file.

    Args:
        arrays: of the file.
        sections: how many there are.
        postings_max: see `POSTINGS_MAX`.
    """

    def __init__(self, arrays: Mapping[str, Array], sections: int, postings_max: int = POSTINGS_MAX) -> None:
        self._arrays = arrays
        self._postings_max = postings_max
        self._sections = sections
        self._pages = int(arrays["section_pages"].max()) + 1

    def ask(self, connection: sqlite3.Connection, text: str) -> Question:
        """Look a question's terms up."""
        wanted: dict[str, Token] = {}
        for token in content_tokens(text):
            wanted.setdefault(token.term, token)
        kept = list(wanted.values())[:QUESTION_TERMS_MAX]
        sections, pages = {}, {}
        for term in sorted({term for token in kept for term in (token.term, *parts(token))}):
            row = connection.execute(
                "SELECT sections, start, pages, page_start FROM terms WHERE term = ?", (term,)
            ).fetchone()
            count, start, page_count, page_start = row or (0, 0, 0, 0)
            sections[term] = Posting(
                rarity(count, self._sections),
                self._arrays["positions"][start : start + count],
                self._arrays["contributions"][start : start + count],
            )
            pages[term] = Posting(
                rarity(page_count, self._pages),
                self._arrays["page_positions"][page_start : page_start + page_count],
                self._arrays["page_contributions"][page_start : page_start + page_count],
            )
        return Question(kept, sections, pages)

    def section_scores(self, question: Question) -> Vector:
        """BM25 of every section."""
        scores = np.zeros(self._sections, dtype=np.float32)
        added = 0
        rescored: Positions | None = None
        for term, posting in sorted(question.sections.items(), key=lambda item: (-item[1].rarity, item[0])):
            if added and added + len(posting.positions) > self._postings_max:
                rescored = np.sort(top(scores, RESCORED)) if rescored is None else rescored
                scores[rescored] += posting.at(rescored) * np.float32(question.share(term))
                continue
            scores[posting.positions] += posting.contributions.astype(np.float32) * np.float32(question.share(term))
            added += len(posting.positions)
        return scores

    def page_scores(self, question: Question) -> Vector:
        """BM25 of every page."""
        scores = np.zeros(self._pages, dtype=np.float32)
        for term, posting in question.pages.items():
            scores[posting.positions] += posting.contributions.astype(np.float32) * np.float32(question.share(term))
        return scores


def coverage(question: Question, positions: Positions) -> Vector:
    """IDF-weighted share of a question's terms in some sections, each in [0, 1]."""
    covered = np.zeros(len(positions), dtype=np.float32)
    for token in question.tokens:
        # A compound that is not there itself is covered by the share of its parts that are.
        names = parts(token)
        present = np.zeros(len(positions), dtype=np.float32)
        for name in names:
            present += question.sections[name].holds(positions) / np.float32(len(names))
        present[question.sections[token.term].holds(positions)] = 1
        covered += np.float32(question.sections[token.term].rarity) * present
    return covered / np.float32(question.weight)


def heading_agreement(question: Question, heading_terms: frozenset[str], heading_weight: float) -> float:
    """Harmonic mean of the IDF-weighted shares of question and heading that are in common, in [0, 1].

    Args:
        question: asked.
        heading_terms: content terms of the heading.
        heading_weight: their rarity together.
    """
    common = sum(question.sections[token.term].rarity for token in question.tokens if token.term in heading_terms)
    # 2pr / (p + r) with p = common / heading and r = common / question.
    return 2 * common / (heading_weight + question.weight) if common else 0.0


def parts(token: Token) -> list[str]:
    """The parts of a compound that are looked up."""
    return [part for part in token.parts if part not in STOP_WORDS]
