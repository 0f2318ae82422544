"""Copies over all sources: exact by normalized text, near by MinHash-LSH; the best-sourced one stays.

What is dropped leaves its provenance with what stays. Candidates of the buckets are checked by their true Jaccard
similarity, so a copy is never dropped by chance.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import xxhash
from rensa import RMinHash, RMinHashLSH

from jeeves_curator.documents.staleness import Dated
from jeeves_curator.documents.steps import Unit, dropped
from jeeves_curator.sections import documentation_prior
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.curation import DocumentDrop, MergedCopy, SourceStanding

SHINGLE_WORDS = 5
_PERMUTATIONS = 128
_BANDS = 32
"""32 bands of 4 rows: two texts at 0.8 are candidates with 1 - (1 - 0.8^4)^32 > 0.9999, at 0.5 with 0.87."""
_SEED = 17
_WORDS = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]")

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Knuth's multiplicative hash, 2^64 divided by the golden ratio: mixes the words of a shingle by their order."""

Shingles = npt.NDArray[np.uint64]


def comparable_text(text: str) -> str:
    """Words only, lower case: what two copies share whatever their mark-up."""
    return " ".join(_WORDS.findall(text.lower()))


def shingles(text: str) -> Shingles:
    """Sorted hashes of the word 5-grams of a text; of the whole text if it is shorter.

    Args:
        text: Markdown.
    """
    words = word_hashes(text)
    return np.unique(ngram_hashes(words, min(SHINGLE_WORDS, len(words))))


def word_hashes(text: str) -> Shingles:
    """Hashes of the words of a text, in order; each Han character is a word."""
    return np.fromiter((_word_hash(word) for word in _WORDS.findall(text.lower())), dtype=np.uint64)


def ngram_hashes(words: Shingles, size: int) -> Shingles:
    """Hashes of the n-grams of words, in order; none of size 0.

    Args:
        words: from `word_hashes`.
        size: words in an n-gram.
    """
    grams = np.zeros(max(len(words) - size + 1, 0) if size else 0, dtype=np.uint64)
    for place in range(size):
        grams = (grams * _MULTIPLIER) ^ words[place : place + len(grams)]
    return grams * _MULTIPLIER


@lru_cache(maxsize=200_000)
def _word_hash(word: str) -> int:
    return int(xxhash.xxh3_64_intdigest(word.encode()))


def jaccard(left: Shingles, right: Shingles) -> float:
    """Similarity of two sets of shingles, in [0, 1]."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    union = len(left) + len(right) - common
    return common / union if union else 0.0


class NearCopies:
    """Texts that can be asked for one that is nearly the same.

    Args:
        threshold: Jaccard similarity of word 5-grams, in (0, 1].
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._buckets = RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        self._texts: list[tuple[str, Shingles]] = []

    def find_or_add(self, key: str, text: str) -> tuple[str, float] | None:
        """The key and similarity of the most similar text that was added before; None adds this one."""
        wanted = shingles(text)
        signature = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        signature.update([value.tobytes().hex() for value in wanted])
        best: tuple[float, int] = (0.0, 0)
        for number in sorted(self._buckets.query(signature)):
            best = max(best, (jaccard(wanted, self._texts[number][1]), -number))
        if best[0] >= self._threshold:
            return self._texts[-best[1]][0], best[0]
        self._buckets.insert(len(self._texts), signature)
        self._texts.append((key, wanted))
        return None


@dataclass
class Deduplicated:
    """What came out.

    Attributes:
        kept: in the order they came in.
        copies: of each kept path.
        drops: of the others.
    """

    kept: list[Unit] = field(default_factory=list)
    copies: dict[str, list[MergedCopy]] = field(default_factory=dict)
    drops: list[DocumentDrop] = field(default_factory=list)


class Copies:
    """Exact and near duplicates among all documents.

    Args:
        threshold: of near duplicates.
        standings: of sources.
    """

    name = "copies"

    def __init__(self, threshold: float, standings: Sequence[SourceStanding]) -> None:
        self._threshold = threshold
        self._ranks = {standing.source: standing.rank for standing in standings}

    def review_all(self, units: Iterable[Dated]) -> Deduplicated:
        """Drops as `duplicate` and `near-duplicate`."""
        ordered = sorted(units, key=self._worst_last)
        result = Deduplicated()
        exact: dict[str, str] = {}
        near = NearCopies(self._threshold)
        for dated in ordered:
            document = dated.unit.document
            key = content_hash(comparable_text(document.text))
            if key in exact:
                self._drop(result, dated.unit, exact[key], 1.0, "duplicate")
                continue
            found = near.find_or_add(document.source_path, document.text)
            exact[key] = document.source_path if found is None else found[0]
            if found is None:
                result.kept.append(dated.unit)
            else:
                self._drop(result, dated.unit, found[0], found[1], "near-duplicate")
        result.kept.sort(key=lambda unit: unit.document.source_path)
        return result

    def _worst_last(self, dated: Dated) -> tuple[object, ...]:
        """Rank by hand, then newest, then documentation, then known licence and address, then the longer text."""
        document = dated.unit.document
        return (
            -self._ranks.get(document.source_path.partition("/")[0], 0),
            "".join(chr(0x10FFFF - ord(character)) for character in dated.as_of.ljust(10)),
            -documentation_prior(document),
            document.provenance.licence in ("", "NOASSERTION"),
            not document.provenance.url,
            -len(document.text),
            -len(document.source_path),
            document.source_path,
        )

    def _drop(self, result: Deduplicated, unit: Unit, kept: str, share: float, reason: str) -> None:
        document = unit.document
        result.drops.append(dropped(self.name, document, reason, f"Jaccard {share:.2f}", kept))
        result.copies.setdefault(kept, []).append(
            MergedCopy(
                source_path=document.source_path,
                url=document.provenance.url,
                licence=document.provenance.licence,
                author=document.provenance.author,
                reason="duplicate" if reason == "duplicate" else "near-duplicate",
                similarity=round(share, 4),
            )
        )
