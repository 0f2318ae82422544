"""Answers that are quotations: the extractive form, and the code block that a how-to answer lacks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jeeves_gateway.citations import CitedText
from jeeves_gateway.passages import Block, blocks, content_terms
from jeeves_shared.contracts.documents import Passage

CODE_LINES_MAX = 40
"""A longer block is read better on its page."""
PARAGRAPH_CHARACTERS_MAX = 700
_QUOTED_PASSAGES_MAX = 3
_OTHER_CODE_SCORE_MIN = 1.5
"""Code of a passage that was not quoted otherwise must be about two of the question's words, or so."""
_NEW_TERMS_MIN = 2
"""A second or third quotation must say something of the question that those before it do not."""

_WANTS_CODE = re.compile(
    r"(?i)\bhow (?:do|can|to|should|would)\b|\bsyntax\b|\bexample|\bsnippet|\bcommand|\bwrite\b|\bconfigur|\bdefine\b|"
    r"\bdeclare\b|\bset up\b|\bshow me\b|\bin a (?:declarative|scripted|jenkinsfile|pipeline)|"
    r"怎么|怎样|如何|示例|例子|写法|语法|命令|配置"
)
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_RELATIVE_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?://)[^)]*\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class QuotedBlock:
    """A block, the position of its passage, and how much of the question it is about."""

    passage: int
    block: Block
    score: float


def is_chinese(text: str) -> bool:
    """Whether a question is (mostly) written in Chinese."""
    han = len(_HAN.findall(text))
    return han > 1 and han >= len(_LATIN_WORD.findall(text))


def source_line(question: str) -> str:
    """What stands before the marker of a quoted block."""
    return "来源：" if is_chinese(question) else "Source: "


def wants_code(question: str) -> bool:
    """Whether a question asks how something is written or done."""
    return bool(_WANTS_CODE.search(question))


def best_code_block(question: str, passages: Sequence[Passage], within: int | None = None) -> QuotedBlock | None:
    """The code block that shares most with a question.

    Args:
        question: or any text.
        passages: best first.
        within: look in this passage only.

    Returns:
        None if there is none of a readable length that shares a word with the question.
    """
    wanted = {token.term for token in content_terms(question)}
    best: QuotedBlock | None = None
    for index, passage in enumerate(passages):
        if within is not None and index != within:
            continue
        around = ""
        for block in blocks(passage.text):
            if block.kind != "code":
                around = block.text
                continue
            if block.code.count("\n") > CODE_LINES_MAX:
                continue
            inside = {term for token in content_terms(block.code) for term in (token.term, *token.parts)}
            nearby = {term for token in content_terms(around) for term in (token.term, *token.parts)}
            # The sentence before a block says what it is for; passages are ordered, the first is worth a little more.
            score = len(wanted & inside) + 0.5 * len(wanted & nearby) - 0.1 * index
            if score > 0 and (best is None or score > best.score):
                best = QuotedBlock(index, block, score)
    return best


def append_code(cited: CitedText, question: str) -> str:
    """Append the code block of the best cited section to an answer that has none.

    Returns:
        What was appended; empty if the cited sections hold no fitting block.
    """
    for passage in cited.used:
        if (found := best_code_block(question, cited.passages, within=passage)) is not None:
            lead = "" if cited.text.endswith("\n\n") else "\n" if cited.text.endswith("\n") else "\n\n"
            added = cited.add(f"{lead}{found.block.text}\n{source_line(question)}")
            return added + cited.mark(passage, "")
    return ""


def write_extract(cited: CitedText, question: str) -> str:
    """Append the extractive form: the best paragraphs and code of the best passages, verbatim, each with its marker.

    Returns:
        What was appended.
    """
    before = len(cited.text)
    wanted = {token.term for token in content_terms(question)}
    covered: set[str] = set()
    for index, passage in enumerate(cited.passages[:_QUOTED_PASSAGES_MAX]):
        chosen = _best_text(passage, wanted - covered if index else wanted)
        if chosen is None:
            continue
        terms = _terms(chosen.text) & wanted
        if index and len(terms - covered) < _NEW_TERMS_MIN:
            continue
        covered |= terms
        cited.add("\n\n" if len(cited.text) > before else "")
        cited.add(_readable(chosen.text))
        if chosen.kind in ("table", "code"):
            cited.add(f"\n\n{source_line(question)}")
            cited.mark(index, "")
        else:
            cited.mark(index)
        if chosen.kind != "code" and wants_code(question) and not _has_code(cited.text[before:]):
            code = best_code_block(question, cited.passages, within=index)
            if code is not None:
                cited.add(f"\n\n{code.block.text}")
    if len(cited.text) > before and wants_code(question) and not _has_code(cited.text[before:]):
        code = best_code_block(question, cited.passages)
        if code is not None and code.score >= _OTHER_CODE_SCORE_MIN:
            cited.add(f"\n\n{code.block.text}\n{source_line(question)}")
            cited.mark(code.passage, "")
    return cited.text[before:]


def _best_text(passage: Passage, wanted: set[str]) -> Block | None:
    candidates = [
        block
        for block in blocks(passage.text)
        if block.kind in ("paragraph", "list", "quote", "table") and len(block.text) <= PARAGRAPH_CHARACTERS_MAX
    ]
    if not candidates:
        return next(
            (block for block in blocks(passage.text) if block.code.count("\n") in range(1, CODE_LINES_MAX)), None
        )
    # The first paragraph says what the section is about: it wins among equals.
    return max(candidates, key=lambda block: (len(_terms(block.text) & wanted), -candidates.index(block)))


def _terms(text: str) -> set[str]:
    return {term for token in content_terms(text) for term in (token.term, *token.parts)}


def _readable(text: str) -> str:
    """A quotation that stands alone: no images, and links into the source's own tree become their text."""
    return _RELATIVE_LINK.sub(r"\1", _IMAGE.sub("", text)).strip()


def _has_code(text: str) -> bool:
    return "```" in text
