"""The inverted index while it is being built: which texts hold a term, and how much each counts."""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jeeves_shared.search.arrays import Array
from jeeves_shared.search.schema import rarity, saturation


@dataclass(frozen=True)
class Postings:
    """Postings of all terms, one after the other.

    Attributes:
        places: number of postings and first place, by term.
        positions: uint32, numbers of the texts.
        contributions: float16, BM25 of a term in a text.
    """

    places: dict[str, tuple[int, int]]
    positions: Array
    contributions: Array


class Inverted:
    """Collects occurrences.

    Args:
        texts: how many there are, >= 1.
    """

    def __init__(self, texts: int) -> None:
        # Typed arrays: 8 bytes an entry, where a list of tuples takes a hundred.
        self._positions: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        self._frequencies: defaultdict[str, array[float]] = defaultdict(lambda: array("f"))
        self._lengths = np.zeros(texts, dtype=np.float64)

    def add(self, position: int, columns: Sequence[Sequence[str]], weights: Sequence[float]) -> None:
        """Add a part of a text; the parts of one text come one after the other, or its postings count twice.

        Args:
            position: number of the text.
            columns: terms of the part, by column.
            weights: of the columns; those of weight 0 are left out.
        """
        found: defaultdict[str, float] = defaultdict(float)
        for column, weight in zip(columns, weights, strict=True):
            if weight > 0:
                self._lengths[position] += len(column)
                for term in column:
                    found[term] += weight
        for term, frequency in found.items():
            positions, frequencies = self._positions[term], self._frequencies[term]
            if positions and positions[-1] == position:
                frequencies[-1] += frequency
            else:
                positions.append(position)
                frequencies.append(frequency)

    def texts_with(self, term: str) -> int:
        """How many texts hold a term."""
        return len(self._positions[term]) if term in self._positions else 0

    def postings(self, b: float) -> Postings:
        """The finished postings; terms in alphabetical order.

        Args:
            b: how much a long text is marked down, in [0, 1].
        """
        total = sum(len(positions) for positions in self._positions.values())
        positions, contributions = np.zeros(total, dtype="<u4"), np.zeros(total, dtype="<f2")
        relative_lengths: npt.NDArray[np.float64] = self._lengths / max(float(self._lengths.mean()), 1.0)
        places: dict[str, tuple[int, int]] = {}
        start = 0
        for term in sorted(self._positions):
            texts = np.asarray(self._positions[term], dtype=np.intp)
            frequencies = np.asarray(self._frequencies[term], dtype=np.float64)
            places[term] = (len(texts), start)
            end = start + len(texts)
            weight = rarity(len(texts), len(self._lengths))
            shares = saturation(frequencies, relative_lengths[texts], b)
            ascending = np.argsort(texts, kind="stable")
            positions[start:end] = texts[ascending]
            contributions[start:end] = (weight * shares)[ascending]
            start = end
        return Postings(places, positions, contributions)
