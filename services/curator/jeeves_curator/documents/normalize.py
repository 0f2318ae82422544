"""One form of text: what came out of broken encodings, templates and page frames is mended or left out.

Code fences are never touched, not by one character.
"""

import json
import re
import unicodedata
from dataclasses import replace

import ftfy
from ftfy.badness import is_bad

from jeeves_curator.documents.blocks import Block, prose, segments
from jeeves_curator.documents.steps import Unit, dropped
from jeeves_shared.contracts.curation import DocumentDrop
from jeeves_shared.contracts.documents import Document

_STRAY = re.compile(
    r"[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad\U000e0000-\U000e007f\x00-\x08\x0b\x0c\x0e-\x1f]"
)
_JOINER_KEPT = re.compile(
    r"(?<=[\u2600-\u27bf\U0001f000-\U0001faff\ufe0f])\u200d(?=[\u2600-\u27bf\U0001f000-\U0001faff])"
)
_CONSOLE_NOTE = re.compile(r"\x1b\[8mha:[^\x1b\n]*\x1b\[0m")
"""Jenkins hides serialized objects in raw logs; they make up most of the bytes, and say nothing to a reader."""
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RULER = re.compile(r"^[ \t]*[-=_*~+][-=_*~+ \t]{198,}$", re.MULTILINE)
"""pandoc draws the frame of a table as wide as its longest line: 100,000 hyphens say nothing."""
_PADDED = re.compile(r"^[^\n]{500,}$", re.MULTILINE)
"""And pads each cell to it. Rows of common length stay as their author aligned them."""
_PADDING = re.compile(r"(?<=\S)[ \t]{12,}(?=\S)")
_DASHES = re.compile(r"-{12,}")
_BLANK_LINES = re.compile(r"\n{4,}")
_BOILERPLATE = re.compile(
    r"""^[ \t>*_-]*(?:
    (?:✎\s*)?(?:\[)?(?:edit|improve|suggest\ (?:an?\ )?edits?\ (?:to|for)|report\ an\ issue\ (?:with|on)|view|print)\ (?:this|the)\ (?:page|article|source|doc\w*)(?:\ on\ (?:github|gitlab))?(?:\]\([^)]*\))?
    |was\ this\ page\ helpful\??.*
    |please\ submit\ your\ feedback\ about\ this\ page\ through\ this\b.*
    |alternatively,\ if\ you\ don.t\ wish\ to\ complete\ the\ quick\ form,.*
    |(?:skip|jump)\ to\ (?:main\ )?(?:content|navigation)
    |(?:↑\s*)?(?:\[)?back\ to\ top(?:\]\([^)]*\))?(?:\s*↑)?
    |\[?(?:previous|next|prev)(?:\ (?:page|chapter|section|article))?\]?(?:\([^)]*\))?(?:\s*[|·•]\s*\[?(?:next|home|up|index)\]?(?:\([^)]*\))?)*
    |(?:we\ use|this\ (?:web)?site\ uses)\ cookies\b.*
    |accept\ (?:all\ )?cookies|reject\ (?:all\ )?cookies
    |(?:copyright\ )?(?:©|\(c\))\s*\d{4}\b.*|all\ rights\ reserved\.?
    |share\ (?:this|on)\b.{0,40}|(?:tweet|like|subscribe|sign\ in|log\ in|sign\ up|search)
    |(?:home|docs|documentation)(?:\s*[>›»/]\s*[^\n>›»/]{2,40}){2,}
    |table\ of\ contents|on\ this\ page|\[?toc\]?
    )[ \t*_]*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_REDIRECT = re.compile(
    r"\b(?:this|the)\s+(?:page|document\w*|content|article|wiki|plugin\s+documentation|readme|site|repo\w*)\s+(?:has|have|was|is|were)?"
    r"\s*(?:been|now|being)?\s*(?:permanently\s+)?(?:moved|renamed|relocated|migrated|redirected|superseded|merged\s+into)\b"
    r"|^\s*#?redirect\b|\byou\s+(?:will\s+be|are\s+being)\s+redirected\b|\bmoved\s+(?:permanently\s+)?to\s+(?:\[|<?https?:)"
    r"|(?:本页|此页|该页)(?:面)?(?:已|已经)?(?:移动|迁移|搬)",
    re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
_UNWRITTEN = re.compile(
    r"(?im)^[>\s*_(\[!]*(?:this is (?:still )?(?:very much )?a work in progress|to be (?:written|described|done|defined|announced)"
    r"|work in progress|coming soon|under construction|tbd|todo|lorem ipsum\b.*|placeholder|待补充|待完善|敬请期待)[.!)\]\s*_]*$"
)  # fmt: skip
_REDIRECT_CHARACTERS_MAX = 500
_SETTINGS = ftfy.TextFixerConfig(
    unescape_html=False, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, normalization="NFC"
)


def clean(text: str) -> str:
    """Text without mojibake, stray characters, rulers and padding; code fences as they are.

    Args:
        text: Markdown.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(part.text if part.is_code else _clean_prose(part.text) for part in segments(text)).strip("\n") + (
        "\n" if text.endswith("\n") else ""
    )


def _clean_prose(text: str) -> str:
    if is_bad(text):
        text = ftfy.fix_text(text, _SETTINGS)
    text = unicodedata.normalize("NFC", text)
    if "\x1b" in text:
        text = _TERMINAL.sub("", _CONSOLE_NOTE.sub("", text))
    if _STRAY.search(text):
        text = _JOINER_KEPT.sub("\ue000", text)
        text = _STRAY.sub("", text).replace("\ue000", "\u200d")
    text = _RULER.sub("", text)
    if "            " in text or "------------" in text:
        text = _PADDED.sub(lambda line: _DASHES.sub("---", _PADDING.sub("  ", line.group())), text)
    return _BLANK_LINES.sub("\n\n\n", text)


class NormalizeDocument:
    """Mends the text and takes page frames out of it."""

    name = "normalize"

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Drops as `empty`."""
        text = clean(unit.document.text)
        text = "\n".join(part.text if part.is_code else _BOILERPLATE.sub("", part.text) for part in segments(text))
        title = " ".join(clean(unit.document.title).split())
        if not text.strip():
            return dropped(self.name, unit.document, "empty")
        changed = unit.with_text(text)
        if unit.document.kind == "question":
            changed = replace(changed, document=_clean_thread(changed.document))
        if title and title != unit.document.title:
            changed = replace(changed, document=changed.document.model_copy(update={"title": title}))
        return changed


def _clean_thread(document: Document) -> Document:
    answers = tuple(answer.model_copy(update={"text": clean(answer.text)}) for answer in document.answers)
    return document.model_copy(update={"question": clean(document.question), "answers": answers})


class Substance:
    """Pages that hold nothing of their own: stubs, redirects, pages that nobody wrote yet, machine-made ones.

    Nor does a question without any answer: it would be found for what it asks, and answer nothing.

    Args:
        stub_characters_min: least prose of a page without code.
        characters_max: longest text that a person wrote.
    """

    name = "substance"

    def __init__(self, stub_characters_min: int, characters_max: int) -> None:
        self._stub = stub_characters_min
        self._max = characters_max

    def review(self, unit: Unit) -> Unit | DocumentDrop:
        """Drops as `unanswered`, `generated`, `data`, `redirect`, `unwritten` or `stub`."""
        document = unit.document
        if document.kind == "question" and not document.answers:
            return dropped(self.name, document, "unanswered")
        if len(document.text) > self._max:
            return dropped(self.name, document, "generated", f"{len(document.text)} characters")
        if form := _data_form(document.text):
            return dropped(self.name, document, "data", form)
        parts = list(segments(document.text))
        code = any(part.is_code for part in parts)
        body = _body(parts)
        if len(body) <= _REDIRECT_CHARACTERS_MAX and not code and _REDIRECT.search(body):
            return dropped(self.name, document, "redirect")
        written = " ".join(_UNWRITTEN.sub("", prose(body)).split())
        if not code and len(written) < self._stub:
            return dropped(self.name, document, "unwritten" if _UNWRITTEN.search(body) else "stub")
        return unit


def _data_form(text: str) -> str:
    """`JSON` or `XML` for a file that programs write for programs; nothing is expanded or looked up."""
    bare = text.strip()
    if bare.startswith("<?xml"):
        return "XML"
    if bare[:1] + bare[-1:] in ("{}", "[]"):
        try:
            json.loads(bare)
        except ValueError:
            return ""
        except RecursionError:
            return "JSON, nested without end"
        return "JSON"
    return ""


def _body(parts: list[Block]) -> str:
    """Prose without its headings."""
    lines = (line for part in parts if not part.is_code for line in part.text.split("\n"))
    return "\n".join(line for line in lines if not line.startswith("#"))
