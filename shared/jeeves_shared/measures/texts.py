"""Two texts against each other, word by word; Chinese characters count as words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[^\W_]+")
_HAN = re.compile(r"[\u3400-\u9fff]")


def folded(text: str) -> str:
    """Text for literal comparison: one form of each character, case ignored, blanks as one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def contains(text: str, term: str) -> bool:
    """True if a term occurs in a text, case and blanks ignored."""
    return folded(term) in folded(text)


def terms_present(text: str, terms: Sequence[str]) -> float:
    """Share of some terms that occur in a text, in [0, 1].

    Args:
        text: such as an answer.
        terms: at least one.
    """
    return sum(contains(text, term) for term in terms) / len(terms)


def words(text: str) -> list[str]:
    """Words of a text in one form, without punctuation."""
    return _WORD.findall(_HAN.sub(lambda match: f" {match.group(0)} ", folded(text)))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of word precision and recall, in [0, 1], whatever the order.

    Source: Rajpurkar et al., SQuAD, section 6.1; without its removal of articles.
    """
    got, wanted = Counter(words(answer)), Counter(words(reference))
    return _f1(sum((got & wanted).values()), sum(got.values()), sum(wanted.values()))


def rouge_l(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the longest common subsequence of words, in [0, 1].

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, section 3.1, with beta = 1.
    """
    got, wanted = words(answer), words(reference)
    row = [0] * (len(wanted) + 1)
    for word in got:
        diagonal = 0
        for at, other in enumerate(wanted, start=1):
            above = row[at]
            row[at] = diagonal + 1 if word == other else max(above, row[at - 1])
            diagonal = above
    return _f1(row[-1], len(got), len(wanted))


def longest_common_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest run of items that stands in both, without a gap."""
    row = [0] * (len(other) + 1)
    best = 0
    for item in one:
        diagonal = 0
        for at, candidate in enumerate(other, start=1):
            above = row[at]
            row[at] = diagonal + 1 if item == candidate else 0
            best = max(best, row[at])
            diagonal = above
    return best


def _f1(common: int, got: int, wanted: int) -> float:
    return 2 * common / (got + wanted) if common else 0.0
