"""Answers that are quotations: the extractive form, and the section that is put under a generated answer."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jeeves_gateway.citations import CitedText
from jeeves_gateway.passages import Block, blocks, content_terms
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.prompts import passage_text

CODE_LINES_MAX = 40
"""A longer block is read better on its page."""
PARAGRAPH_CHARACTERS_MAX = 700
_QUOTED_PASSAGES_MAX = 3
_SECTION_CHARACTERS_MAX = 2400
"""A code block may be a little longer than the text of a section that is put together."""
_WHOLE_CHARACTERS_MAX = 3000
"""A further section of the first one's page is quoted whole while the quotation stays below this.

Source: 66 held-out and 410 development questions: 72 and 69 % of the terms of a reference answer become 76 and 73 %,
key terms 80 to 82 %, at 26 % more text (docs/experiments.md).
"""
_OTHER_CODE_SCORE_MIN = 1.5
"""Code of a passage that was not quoted otherwise must be about two of the question's words, or so."""
_SHARED_TERMS_MIN = 2
"""A quotation from the second or third passage must be about this many of the question's words."""
_SAID_SHARE_MIN = 0.8
"""An answer with this share of a section's content terms says what the section says: it is not quoted once more."""

_WANTS_CODE = re.compile(
    r"(?i)\bhow (?:do|can|to|should|would)\b|\bsyntax\b|\bexample|\bsnippet|\bcommand|\bwrite\b|\bconfigur|\bdefine\b|"
    r"\bdeclare\b|\bset up\b|\bshow me\b|\bin a (?:declarative|scripted|jenkinsfile|pipeline)|"
    r"怎么|怎样|如何|示例|例子|写法|语法|命令|配置"
)
_WARNED_CODE = re.compile(r"(?://|#|/\*)[^\n]*\b(?:WRONG|INSECURE|BAD|DO NOT|DON'T)\b")
"""Code that its page shows as a warning is no example to follow."""
_LATIN_WORD = re.compile(r"[A-Za-z]+")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_CODE_PIECE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
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
            if block.code.count("\n") > CODE_LINES_MAX or _WARNED_CODE.search(block.code):
                continue
            inside = {term for token in content_terms(block.code) for term in (token.term, *token.parts)}
            nearby = {term for token in content_terms(around) for term in (token.term, *token.parts)}
            # The sentence before a block says what it is for; passages are ordered, the first is worth a little more.
            score = len(wanted & inside) + 0.5 * len(wanted & nearby) - 0.1 * index
            if score > 0 and (best is None or score > best.score):
                best = QuotedBlock(index, block, score)
    return best


def append_source(cited: CitedText, question: str) -> str:
    """Append the section that a generated answer rests on, the best that was found, and code to a how-to without any.

    A small model names a third of the facts that a right answer holds; the sections under its answer hold most of them
    (docs/experiments.md), and show at a glance whether the answer is right. It also trusts the wrong passage at times,
    where the search had the right one first.

    Returns:
        What was appended; empty if the answer says all that already, or cites nothing.
    """
    before = len(cited.text)
    for passage in dict.fromkeys((*cited.used[:1], 0)) if cited.used else ():
        section = _section(cited.passages[passage])
        terms = _terms(section)
        if len(terms & _terms(cited.text)) < _SAID_SHARE_MIN * len(terms):
            cited.add(f"{_blank_line(cited)}{_from_source(question)}")
            cited.mark(passage, "")
            cited.add(f"{'：' if is_chinese(question) else ':'}\n\n{section}")
    if wants_code(question) and not _has_code(cited.text):
        _append_code(cited, question)
    return cited.text[before:]


def _append_code(cited: CitedText, question: str) -> str:
    for passage in cited.used:
        if (found := best_code_block(question, cited.passages, within=passage)) is not None:
            added = cited.add(f"{_blank_line(cited)}{found.block.text}\n{source_line(question)}")
            return added + cited.mark(passage, "")
    return ""


def write_extract(cited: CitedText, question: str, left_out: Collection[int] = ()) -> str:
    """Append the extractive form: the best section, and what the next ones say of the question, each with its marker.

    Args:
        cited: gets the text.
        question: what it is about.
        left_out: positions of passages that are not quoted.

    Returns:
        What was appended.
    """
    before = len(cited.text)
    wanted = {token.term for token in content_terms(question)}
    for index, passage in enumerate(cited.passages[:_QUOTED_PASSAGES_MAX]):
        if index in left_out:
            continue
        room = _WHOLE_CHARACTERS_MAX - (len(cited.text) - before)
        beside = passage.source_path == cited.passages[0].source_path and len(passage.text) <= room
        chosen = _whole(passage) if index == 0 or beside else _best_text(passage, wanted)
        if chosen is None or (index and len(_terms(chosen.text) & wanted) < _SHARED_TERMS_MIN):
            continue
        if _readable(chosen.text) in cited.text:
            # Another part of a section that was quoted whole.
            continue
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


def _section(passage: Passage) -> str:
    return _readable(passage_text(passage.text, _SECTION_CHARACTERS_MAX))


def _whole(passage: Passage) -> Block | None:
    found = blocks(passage.text)
    return Block(found[-1].kind, _section(passage)) if found else None


def _blank_line(cited: CitedText) -> str:
    return "" if cited.text.endswith("\n\n") else "\n" if cited.text.endswith("\n") else "\n\n"


def _from_source(question: str) -> str:
    return "来源原文 " if is_chinese(question) else "From the source "


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
    return "".join(
        piece if piece.startswith("`") else _RELATIVE_LINK.sub(r"\1", _IMAGE.sub("", piece))
        for piece in _CODE_PIECE.split(text)
    ).strip()


def _has_code(text: str) -> bool:
    return "```" in text
