"""Whether a finished answer may stand: it is a text, and the sources support it."""

import math
import re
from typing import Literal

from jeeves_gateway.passages import SourceSet, content_terms
from jeeves_shared.contracts.prompts import REFUSAL

Flaw = Literal["empty", "repeating", "says-nothing", "control-tokens", "unsupported", "invented-names", "second-best"]

ANSWER_SHARE_MIN = 0.7
"""Share of an answer's content terms that question and passages must hold.

Source: starter pack, 408 reference answers: 96 % reach it with their own passages, 3 % with those of another question.
"""
_LOOP_CHARACTERS = 24
_LONG_STRETCH_CHARACTERS = 100
_CONTROL = re.compile(r"<\|[^|>\s]{1,40}\|>|\[/?INST\]|<</?SYS>>")
_COULD_NOT_FIND = re.compile(
    r"(?i)\b(?:could|can|was|were)(?:\s?not|n't) (?:be |able to )?(?:find|found|answer)|"
    r"\bnot (?:mentioned|found|covered) in the (?:sources|documentation)|没有找到|未找到"
)
_IS = re.compile(r"\W*(.{1,120}?)\s+(?:is|are|means?|refers? to)\s+(.*)", re.DOTALL)
_YES_OR_NO = re.compile(r"(?i)\W*(?:yes|no|it (?:is|does|can)|是|否|不|可以)")
_REFUSAL_CHARACTERS_MAX = 300
_BEGINNING_CHARACTERS = 80


def flaw_of(answer: str, sources: SourceSet) -> Flaw | None:
    """The first reason why an answer must not stand; None if it may.

    Args:
        answer: as the engine wrote it.
        sources: what it must rest on; with no passages only its form is judged.
    """
    if not content_terms(answer[:_BEGINNING_CHARACTERS]) and not content_terms(answer):
        return "empty"
    if _CONTROL.search(answer):
        return "control-tokens"
    if is_looping(answer):
        return "repeating"
    return _flaw_beside_sources(answer, sources) if sources.passages else None


def _flaw_beside_sources(answer: str, sources: SourceSet) -> Flaw | None:
    if says_nothing(answer, sources.question):
        return "says-nothing"
    if sources.invented(answer):
        return "invented-names"
    return "unsupported" if sources.share(answer) < ANSWER_SHARE_MIN else None


def says_nothing(answer: str, question: str) -> bool:
    """Whether an answer only says the question again, or says of a thing that it is that thing.

    Source: none of 843 reference answers (starter pack, development pairs) does.
    """
    if "```" in answer:
        return False
    said = {token.term for token in content_terms(answer)}
    if said <= {token.term for token in content_terms(question)}:
        # "Yes." and "No, …" answer in the question's own words.
        return not _YES_OR_NO.match(answer)
    match = _IS.match(answer)
    if match is None:
        return False
    subject, rest = ({token.term for token in content_terms(part)} for part in match.groups())
    return bool(subject) and subject >= rest and said <= subject | rest


def is_looping(text: str) -> bool:
    """Whether a text ends in a loop: a stretch of some length three times in a row, or a long one twice.

    Cheap enough to be asked after each token: only the end is looked at.
    """
    tail = text[-1200:]
    last = tail[-_LOOP_CHARACTERS:]
    if len(last) < _LOOP_CHARACTERS or not re.search(r"\w", last):
        return False
    previous = tail.rfind(last, 0, len(tail) - 1)
    if previous < 0:
        return False
    period = len(tail) - _LOOP_CHARACTERS - previous
    times = 2 if period >= _LONG_STRETCH_CHARACTERS else max(3, math.ceil(2 * _LOOP_CHARACTERS / period))
    return tail.endswith(tail[-period:] * times)


def may_become_refusal(beginning: str) -> bool:
    """Whether a text that has only begun may turn out to be the refusal that models are trained on."""
    text = beginning.strip()
    return REFUSAL.startswith(text) or text.startswith(REFUSAL)


def is_refusal(answer: str) -> bool:
    """Whether the model itself says that it found nothing."""
    text = answer.strip()
    return text.startswith(REFUSAL[:30]) or (
        len(text) <= _REFUSAL_CHARACTERS_MAX and bool(_COULD_NOT_FIND.search(text))
    )
