"""Whether there is enough in the sources to answer a question: no evidence, no answer."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jeeves_gateway.other_products import is_about_other_product
from jeeves_gateway.passages import content_terms, is_held, passage_terms
from jeeves_gateway.quoting import is_chinese
from jeeves_gateway.retrieval import Retrieved
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT, REFUSAL

EvidenceReason = Literal["enough", "small-talk", "nothing-found", "weak-evidence", "unknown-identifier"]


@dataclass(frozen=True, slots=True)
class _Weights:
    """Of the figures of a question, and the bias."""

    coverage: float
    similarity: float
    domain: float
    strangeness: float
    missing_name: float
    other_product: float
    sentence: float
    bias: float


_WEIGHTS = _Weights(1.8, 6.0, 2.0, -3.8, -3.0, -2.9, 5.1, -3.5)
_WEIGHTS_WITHOUT_ENCODER = _Weights(2.3, 7.9, 3.3, -5.6, -3.1, -3.1, 0.0, -1.4)
"""Of a logistic regression: evidence is its probability that the sources can answer.

Source: fitted on two indexes at once, so that neither size nor style of the sources decides: the starter pack with its
433 answerable questions, and the Jenkins handbook with the same, 410 of its own and half of the 453 of the search
bench; against 270 questions on everyday matters, other products and what Jenkins does not have. The figures:
`services/gateway/README.md`, section "Thresholds". `tests/bench/evidence_bench.py` fits them again; its weights, made
without 44 of those questions, refuse 3 of the 410 more, and 2 more of 59 that were kept unseen.
"""

_SMALL_SECTIONS = 200
"""Below this many sections their mean and their rare words are those of single pages, and say nothing of a subject."""

_SMALL_WEIGHT = 6.8
_SMALL_BIAS = -5.5
"""Of coverage and similarity alone: `EVIDENCE_MIN` is reached at a sum of 0.75, `EVIDENCE_STRONG` at 0.97.

Source: these two sums, chosen on the starter pack when the sum was all that counted.
"""

EVIDENCE_MIN = 0.4
"""Least evidence for an answer. Source: as above."""

EVIDENCE_WITH_UNKNOWN_MIN = 0.7
"""The same for a question with an identifier that occurs nowhere: 4 of 9 error messages with names of their own pass, 2
of 9 questions on syntax that does not exist; an answer begins by naming it. Source: as above.
"""

EVIDENCE_STRONG = 0.75
MISSING_TERMS_STRONG_MAX = 1
"""From here on, and with no more of the question's content terms missing in the passages, a refusal of the model is
overruled and the passages are quoted: a small model refuses too often.

Source: as above; 88 % of the handbook's own questions reach it (66 % with no term missing), 80 % of the starter pack's
there, 4 % of those that cannot be answered.
"""

_FRAMING_STEMS = """
write use set make turn show explain give get creat configur way need want help purpos differ provid recommend necessari
work possibl mean kind thing tell best someth anoth exampl exist keep let long much mani go step associ key caution
consid consider involv describ element say follow take find put look new rather next instead
"""
_FRAMING = frozenset(_FRAMING_STEMS.split())
"""Terms that frame a question: sources that lack them lack nothing."""

_CODE_NAME = re.compile(r"`\s*([A-Za-z]\w+)[^`]*`")
_NAME = re.compile(r"[A-Za-z][\w.+#-]*")
_NOT_A_NAME_WORDS = """
i jenkins how what why which when where who can could does do is are should would will the a an in on if explain write
give show list pipeline declarative scripted groovy jenkinsfile jenkinsfiles
"""
_NOT_A_NAME = frozenset(_NOT_A_NAME_WORDS.split())

_SMALL_TALK_WORDS = """
hi hello hey hiya greetings thanks thank thx bye goodbye morning evening afternoon ok okay yes no cool great nice good
day cheers jeeves test 你好 您好 谢谢 多谢 再见 早上 上好 晚上 嗨 在吗
"""
_SMALL_TALK = frozenset(_SMALL_TALK_WORDS.split())
_REFUSAL_ZH = "在我检索的 Jenkins 文档中没有找到相关内容。"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the search says about a question."""

    reason: EvidenceReason
    unknown: tuple[str, ...] = ()
    strong: bool = False

    @property
    def enough(self) -> bool:
        """Whether the question may be answered."""
        return self.reason == "enough"


def judge(question: str, retrieved: Retrieved, *, heed_unknown: bool = True) -> Judgement:
    """Decide whether the sources can answer.

    Args:
        question: as it was searched.
        retrieved: what was found for it.
        heed_unknown: whether identifiers that occur nowhere count.
    """
    names = retrieved.unknown if heed_unknown else ()
    if all(token.surface.lower() in _SMALL_TALK for token in content_terms(question)):
        return Judgement("small-talk")
    if not retrieved.found:
        return Judgement("nothing-found", names)
    found = evidence(question, retrieved, heed_product=heed_unknown)
    if names and found < EVIDENCE_WITH_UNKNOWN_MIN:
        return Judgement("unknown-identifier", names)
    if found < EVIDENCE_MIN:
        return Judgement("weak-evidence", names)
    strong = found >= EVIDENCE_STRONG and not names
    return Judgement("enough", names, strong and len(_missing_terms(question, retrieved)) <= MISSING_TERMS_STRONG_MAX)


def evidence(question: str, retrieved: Retrieved, *, heed_product: bool = True) -> float:
    """Probability that the sources can answer, in (0, 1).

    Args:
        question: as it was searched.
        retrieved: at least one hit; the passages of the prompt count.
        heed_product: whether another product's name counts; not in words that are looked up for a log.
    """
    top = retrieved.found[:PASSAGES_IN_PROMPT]
    coverage, similarity = max(hit.coverage for hit in top), max(hit.similarity for hit in top)
    if retrieved.sections < _SMALL_SECTIONS:
        return _probability(_SMALL_BIAS + _SMALL_WEIGHT * (coverage + similarity))
    text = " ".join(f"{hit.passage.title} {hit.passage.section} {hit.passage.text}" for hit in top).lower()
    sentence = max(hit.sentence for hit in top)
    # An index without an encoder has no such figure.
    weights = _WEIGHTS if sentence else _WEIGHTS_WITHOUT_ENCODER
    weighed = (
        weights.bias
        + weights.coverage * coverage
        + weights.similarity * similarity
        + weights.sentence * sentence
        + weights.domain * retrieved.topicality.domain
        + weights.strangeness * retrieved.topicality.strangeness
        + weights.missing_name * any(name.lower() not in text for name in proper_names(question))
        + weights.other_product * (heed_product and is_about_other_product(question))
    )
    return _probability(weighed)


def _missing_terms(question: str, retrieved: Retrieved) -> set[str]:
    """Content terms of a question that none of the passages of the prompt holds."""
    held = frozenset[str]().union(*(passage_terms(hit.passage) for hit in retrieved.found[:PASSAGES_IN_PROMPT]))
    return {token.term for token in content_terms(question) if token.term not in _FRAMING and not is_held(token, held)}


def _probability(weighed: float) -> float:
    return 1 / (1 + math.exp(-weighed))


def proper_names(question: str) -> list[str]:
    """Words of a question that are written like names (`GitLab`, `CircleCI`), or as code: the first word in backticks.

    Not how a sentence begins, and not error names and variables, which every installation has of its own.
    """
    names = [match.group(1) for match in _CODE_NAME.finditer(question)]
    for match in _NAME.finditer(question):
        word = match.group().rstrip(".")
        before = question[: match.start()].rstrip()
        begins = not before or before.endswith((".", "?", "!", ":"))
        if (
            word[0].isupper()
            and not (begins and word[1:].islower())
            and word.lower() not in _NOT_A_NAME
            and "_" not in word
            and not word.endswith(("Exception", "Error"))
        ):
            names.append(word)
    return names


def unknown_note(question: str, unknown: Sequence[str]) -> str:
    """A sentence that names what the sources do not know; empty if there is nothing."""
    names = ", ".join(f"`{name}`" for name in unknown)
    if not names:
        return ""
    if is_chinese(question):
        return f"来源中没有出现 {names}。"
    return f"{names} {'does' if len(unknown) == 1 else 'do'} not occur in the sources."


def refusal_text(question: str, judgement: Judgement, documents: int, sections: int) -> str:
    """The refusal: what was searched, and which of the question's names the sources do not know.

    Args:
        question: its language is the answer's.
        judgement: not `enough`.
        documents: in the index.
        sections: in the index.
    """
    note = unknown_note(question, judgement.unknown)
    if is_chinese(question):
        if judgement.reason == "small-talk":
            return "你好！我根据 Jenkins 文档回答问题，例如：如何在声明式流水线中使用凭据？"
        return f"{_REFUSAL_ZH}{note}（已检索 {documents} 篇文档、{sections} 个章节。）"
    if judgement.reason == "small-talk":
        return (
            "Hello. I answer questions about Jenkins from the documentation that I was given, for example: "
            "How do I bind a secret in a Declarative Pipeline?"
        )
    searched = (
        f"I searched {sections} sections of {documents} documents." if documents else f"I searched {sections} sections."
    )
    return " ".join(part for part in (REFUSAL, note, searched) if part)
