"""Figures for one written answer: key facts, token F1, whether it is a refusal."""

import re
from collections import Counter
from collections.abc import Sequence

from jeeves_shared.contracts.prompts import REFUSAL

_WORD = re.compile(r"\w+")
_REFUSAL_PHRASE = re.compile(
    r"(could not|couldn't|cannot|can't|can not|did not|didn't|unable to) find"
    r"|(is|are|was|were) not (in|covered|found|mentioned|described)[\w ]* (sources?|documentation|documents?|passages?)"
    r"|(sources?|documentation|documents?) (do|does|did) not (contain|hold|cover|mention|say|describe)",
    re.IGNORECASE,
)
_REFUSAL_F1 = 0.8
"""Token F1 with the refusal text from which on an answer counts as that text: a word or two may differ."""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def key_facts(answer: str, key_terms: Sequence[str]) -> float:
    """Share of the key terms that occur in an answer, case ignored and blanks folded.

    Args:
        answer: as the model wrote it.
        key_terms: at least one.

    Returns:
        In [0, 1].
    """
    folded = " ".join(answer.lower().split())
    return sum(" ".join(term.lower().split()) in folded for term in key_terms) / len(key_terms)


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of word precision and recall, in [0, 1].

    Source: Rajpurkar et al., SQuAD, section 6.1; without its removal of articles.
    """
    got, wanted = Counter(_words(answer)), Counter(_words(reference))
    common = sum((got & wanted).values())
    if common == 0:
        return 0.0
    precision, recall = common / sum(got.values()), common / sum(wanted.values())
    return 2 * precision * recall / (precision + recall)


def is_refusal(answer: str) -> bool:
    """True if an answer says that it does not know: the refusal text or close to it, or a phrase that means it."""
    return token_f1(answer, REFUSAL) >= _REFUSAL_F1 or bool(_REFUSAL_PHRASE.search(answer))


def refuses_rightly(answer: str, must_not: Sequence[str]) -> bool:
    """True if an answer to an unanswerable question is a refusal and gives nothing away.

    Args:
        answer: as the model wrote it.
        must_not: strings that only an answer would contain.
    """
    lowered = answer.lower()
    return is_refusal(answer) and not any(text.lower() in lowered for text in must_not)
