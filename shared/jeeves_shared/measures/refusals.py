"""Whether an answer declines its question, or corrects it."""

import re
from collections.abc import Sequence

from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.measures.texts import contains, token_f1

_REFUSAL_F1 = 0.8
"""Token F1 with the refusal text from which on an answer counts as that text: a word or two may differ."""

_REFUSAL = re.compile(
    r"(?i)\b(?:could|can|did|do|was|were|am|is|are)(?:\s?not|n['’]t) (?:be |been |able to )*"
    r"(?:find|found|answer|help|assist|know|covered|mentioned|described)"
    r"|\bunable to (?:find|answer|help)|\b(?:don['’]t|do not) have (?:any )?information"
    r"|\bonly (?:answer|help with) questions? (?:about|on) jenkins"
    r"|\boutside (?:of )?(?:jenkins\b|my |the (?:scope|topic|sources|documentation|documents))"
    r"|\bnot (?:in|part of|covered by|found in|mentioned in|described in) the "
    r"(?:[\w-]+ ){0,2}(?:sources?|documentation|documents?|passages?)"
    r"|(?:sources?|documentation|documents?) (?:do|does|did)(?:\s?not|n['’]t) "
    r"(?:contain|hold|cover|mention|say|describe)"
    r"|没有找到|未找到|无法(?:回答|找到|提供)|不能回答|不在.{0,8}范围|只能?回答"
)
_CORRECTION = re.compile(
    r"(?i)\b(?:does|do|did)(?:\s?not|n['’]t) (?:exist|occur|have|support|define|know)"
    r"|\bthere(?:['’]s| is| are)(?: currently)? no\b|\bno such\b|\b(?:is|are)(?:\s?not|n['’]t) (?:a |an |any )?"
    r"(?:\w+ ){0,3}(?:directive|step|option|plugin|feature|parameter|section|property|valid|known|part|supported|real"
    r"|command|file|setting|available|method|keyword|block|syntax)"
    r"|\bis (?:unknown|invalid|unsupported|fictional)|\bnot (?:exist|a valid|valid|supported|available)\b"
    r"|\bhas no\b|\bhave no\b"
    r"|不存在|没有.{0,12}(?:指令|步骤|插件|选项|参数|功能)|并不(?:存在|支持)|不是.{0,10}(?:有效|合法)|来源中没有出现"
)
_QUOTED = re.compile(r"\n(?:From the source|来源原文) \[|```")


def is_refusal(answer: str) -> bool:
    """True if an answer says that it does not know: the refusal text or close to it, or a phrase that means it."""
    return token_f1(answer, REFUSAL) >= _REFUSAL_F1 or bool(_REFUSAL.search(own_words(answer)))


def says_no(answer: str) -> bool:
    """True if an answer refuses, or corrects the question, in its own words: quoted sources say `is not` of much."""
    return is_refusal(answer) or bool(_CORRECTION.search(own_words(answer)))


def refuses_rightly(answer: str, must_not: Sequence[str]) -> bool:
    """True if an answer to an unanswerable question is a refusal and gives nothing away.

    Args:
        answer: as the model wrote it.
        must_not: strings that only an answer would contain.
    """
    return is_refusal(answer) and not any(contains(answer, text) for text in must_not)


def own_words(answer: str) -> str:
    """An answer without what it quotes: from the first code block or quoted source on."""
    return _QUOTED.split(answer, maxsplit=1)[0]
