"""Near duplicates by MinHash and locality-sensitive hashing, each candidate checked by its true similarity."""

import re

from rensa import RMinHash, RMinHashLSH

GRAM_CHARACTERS = 5
"""Character 5-grams: questions of eight words have too few word shingles, and Chinese has no words at all."""

_PERMUTATIONS = 128
_BANDS = 32
"""32 bands of 4 rows: a pair at similarity 0.7 is a candidate with 1 - (1 - 0.7^4)^32 = 0.9998."""
_SEED = 17

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NOT_WORDS = re.compile(r"[\W_]+")
_LITERALS = re.compile(r"`[^`]+`|\b[\w.-]*\d[\w.-]*\b|\b[a-z]+[A-Z]\w*\b|\"[^\"]+\"")


def comparable(text: str) -> str:
    """Text for comparison: lower case, words only, without articles."""
    return " ".join(_NOT_WORDS.sub(" ", _ARTICLES.sub(" ", text.lower())).split())


def literals(text: str) -> frozenset[str]:
    """What makes two otherwise equal questions differ: numbers, versions, code, quoted names."""
    return frozenset(item.strip('`"').lower() for item in _LITERALS.findall(text))


def grams(text: str) -> frozenset[str]:
    """Character 5-grams of the comparable text; the text itself when it is shorter."""
    plain = comparable(text)
    return frozenset(
        plain[start : start + GRAM_CHARACTERS] for start in range(max(1, len(plain) - GRAM_CHARACTERS + 1))
    )


def similarity(left: frozenset[str], right: frozenset[str]) -> float:
    """Jaccard similarity, in [0, 1]; 0 for two empty sets."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0


class NearDuplicates:
    """A set of texts that can be asked for one that is nearly the same.

    Args:
        threshold: Jaccard similarity from which two texts are nearly the same, in (0, 1].
        respect_literals: if True, texts with different numbers, versions or code never are.
    """

    def __init__(self, threshold: float, respect_literals: bool = True) -> None:
        self._threshold = threshold
        self._respect_literals = respect_literals
        # The library's threshold only labels the structure; bands and rows decide what becomes a candidate.
        self._buckets = RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        self._texts: list[tuple[str, frozenset[str], frozenset[str]]] = []

    def find(self, text: str) -> str | None:
        """The key of a text added before that is nearly the same; the first such, or None."""
        wanted, names = grams(text), literals(text)
        candidates: list[int] = sorted(self._buckets.query(_minhash(wanted)))
        for number in candidates:
            key, other, other_names = self._texts[number]
            if self._respect_literals and names != other_names:
                continue
            if similarity(wanted, other) >= self._threshold:
                return key
        return None

    def add(self, key: str, text: str) -> None:
        """Remember a text under a key."""
        wanted = grams(text)
        self._buckets.insert(len(self._texts), _minhash(wanted))
        self._texts.append((key, wanted, literals(text)))


def _minhash(items: frozenset[str]) -> RMinHash:
    signature = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
    signature.update(sorted(items))
    return signature
