"""Markdown in blocks: paragraphs, and code fences whole."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s\"[^\"]*\")?\)|<https?://[^<>\s]+>|https?://\S+")
_MARKS = re.compile(r"[*_`#>|]+|^\s*(?:[-+]|\d+[.)])\s+", re.MULTILINE)
_CODE_OR_MARKS = re.compile(rf"`+(?P<code>[^`\n]+)`+|{_MARKS.pattern}", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Lines between blank lines, or a code fence from its first line to its last.

    Attributes:
        text: without the line break at its end.
        is_code: True for a fence.
    """

    text: str
    is_code: bool

    @property
    def is_heading(self) -> bool:
        """True for a heading alone."""
        return not self.is_code and self.text.startswith("#") and "\n" not in self.text


def segments(text: str) -> Iterator[Block]:
    """Fences, and what stands between them, blank lines included: joined with a line break they are the text again."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opened = _FENCE.match(line)
        if opened and not fence:
            if lines:
                yield Block("\n".join(lines), False)
            lines = [line]
            fence = opened.group(1)
        elif opened and fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            yield Block("\n".join([*lines, line]), True)
            lines = []
            fence = ""
        else:
            lines.append(line)
    if lines:
        yield Block("\n".join(lines), bool(fence))


def blocks(text: str) -> list[Block]:
    """Paragraphs, headings and fences of a text, in order."""
    found: list[Block] = []
    for segment in segments(text):
        if segment.is_code:
            found.append(segment)
        else:
            parts = re.split(r"\n[ \t]*\n", segment.text)
            found += [Block(part.strip("\n"), False) for part in parts if part.strip()]
    return found


def joined(parts: Sequence[Block]) -> str:
    """The text of blocks, a blank line between them."""
    return "\n\n".join(part.text for part in parts)


def prose(text: str, keep_inline_code: bool = False) -> str:
    """What a reader reads: no code blocks, no link targets, no marks.

    Args:
        text: Markdown.
        keep_inline_code: leave code inside a line as it is, `*/4` with its star.
    """
    plain = "\n".join(part.text for part in segments(text) if not part.is_code)
    plain = _LINK.sub(lambda match: match.group(1) or "", plain)
    if keep_inline_code:
        return _CODE_OR_MARKS.sub(lambda match: match["code"] or " ", plain)
    return _MARKS.sub(" ", plain)


def without_empty_sections(parts: list[Block]) -> list[Block]:
    """Blocks without the headings below which nothing is left, unless nothing was there before either.

    Args:
        parts: after paragraphs were dropped.
    """
    kept: list[Block] = []
    for number, part in enumerate(parts):
        if part.is_heading:
            level = len(part.text) - len(part.text.lstrip("#"))
            following = parts[number + 1] if number + 1 < len(parts) else None
            if following is None or (
                following.is_heading and len(following.text) - len(following.text.lstrip("#")) <= level
            ):
                continue
        kept.append(part)
    return kept
