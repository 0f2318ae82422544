"""Whether there is enough in the sources to answer a question: no evidence, no answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jeeves_gateway.passages import content_terms
from jeeves_gateway.quoting import is_chinese
from jeeves_gateway.retrieval import FoundSection
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT, REFUSAL

EvidenceReason = Literal["enough", "small-talk", "nothing-found", "weak-evidence", "unknown-identifier"]

EVIDENCE_MIN = 0.78
"""Least sum of coverage (of the question's terms by a section, in [0, 1]) and similarity (cosine), best of three hits.

Source: starter pack, 433 questions of `pairs/` against 60 of `refusals.jsonl`: 97.7 % of the answerable are answered,
77 % of the others refused; at 0.85 it is 95.4 % and 78 %. The model's own refusals come on top.
The whole table stands in `services/gateway/README.md`, section "Thresholds".
"""
EVIDENCE_WITH_UNKNOWN_MIN = 1.05
"""The same for a question with an identifier that occurs nowhere: 7 of 9 error messages with names of their own pass,
1 of the 11 refusals with one does. Source: as above.
"""

EVIDENCE_STRONG = 1.0
"""From here on a refusal of the model is overruled and the passages are quoted: a small model refuses too often.

Source: starter pack, without unknown identifiers: 89 % of 433 answerable questions reach it, 13 % of 60 others.
"""

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


def judge(question: str, found: Sequence[FoundSection], unknown: Sequence[str]) -> Judgement:
    """Decide whether the sources can answer.

    Args:
        question: as it was searched.
        found: hits of the index, best first.
        unknown: identifiers of the question that occur nowhere in the index.
    """
    names = tuple(unknown)
    if all(token.surface.lower() in _SMALL_TALK for token in content_terms(question)):
        return Judgement("small-talk")
    if not found:
        return Judgement("nothing-found", names)
    top = found[:PASSAGES_IN_PROMPT]
    evidence = max(hit.coverage for hit in top) + max(hit.similarity for hit in top)
    if names and evidence < EVIDENCE_WITH_UNKNOWN_MIN:
        return Judgement("unknown-identifier", names)
    if evidence < EVIDENCE_MIN:
        return Judgement("weak-evidence", names)
    return Judgement("enough", names, strong=evidence >= EVIDENCE_STRONG and not names)


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
