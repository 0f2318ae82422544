"""Splits a document into sections: at headings, never inside a code fence, neither too long nor too short."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import Document, Passage
from jeeves_shared.search.builder import Section

SECTIONS_VERSION = 2
"""Bump with any change to the way documents are split."""

FENCE_OVERFLOW = 3
"""A code block may exceed the longest section this many times before it is cut: half a Jenkinsfile helps nobody."""

INTRODUCTION_CHARACTERS_MAX = 200
"""What is left of a section before a long block stays with the first part of that block if it is not longer than this:
alone it would be found for its heading, and say nothing."""

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_PERIPHERAL = """
    blog changelog changelogs contributing dev-docs developer developers events gsoc meetings news project project-ideas
    projects release-notes roadmap sigs
"""
PERIPHERAL_FOLDERS = frozenset(_PERIPHERAL.split())
"""Folders of material for those who make a program rather than use it: plans, reports, news, internals."""

_INLINE_MARKUP = re.compile(r"[*`]|\[([^\]]*)\]\([^)]*\)|\{#[^}]*\}")


@dataclass
class _Block:
    """The lines below one heading."""

    path: tuple[str, ...]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip()


def split_document(document: Document, characters_max: int, characters_min: int) -> list[Section]:
    """Sections of a document, in order.

    Args:
        document: with Markdown text.
        characters_max: longer sections are split at blank lines.
        characters_min: shorter ones join the one that follows, or the one before at the end.

    Returns:
        With ids that depend on path, headings and position only: a changed sentence keeps its section's id.
    """
    prior = documentation_prior(document)
    blocks = _join_short(list(_blocks(document)), characters_min)
    sections: list[Section] = []
    seen: dict[tuple[str, ...], int] = {}
    for block in blocks:
        for text in pieces(block.text, characters_max):
            ordinal = seen.get(block.path, 0)
            seen[block.path] = ordinal + 1
            passage = Passage(
                section_id=content_hash([document.source_path, block.path, ordinal])[:20],
                source_path=document.source_path,
                url=document.provenance.url,
                title=document.title,
                section=block.path[-1],
                text=text,
                licence=document.provenance.licence,
            )
            sections.append(Section(passage, block.path, prior))
    return sections


def documentation_prior(document: Document) -> float:
    """How likely a question of an administrator or a pipeline author is about such a document: 1, or 0 for the rest."""
    folders = set(document.source_path.split("/")[1:-1])
    return 0.0 if document.kind in ("release-note", "log") or folders & PERIPHERAL_FOLDERS else 1.0


def _plain(heading: str) -> str:
    return _INLINE_MARKUP.sub(lambda match: match.group(1) or "", heading).strip()


def _blocks(document: Document) -> Iterator[_Block]:
    stack: list[tuple[int, str]] = []
    block = _Block((document.title,))
    fence = ""
    for line in document.text.splitlines():
        opened = _FENCE.match(line)
        if opened and not fence:
            fence = opened.group(1)
        elif opened and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        elif not fence and (match := _HEADING.match(line)):
            yield block
            level, title = len(match.group(1)), _plain(match.group(2))
            stack = [entry for entry in stack if entry[0] < level]
            if title != document.title:
                stack.append((level, title))
            block = _Block((document.title, *(entry[1] for entry in stack)))
            continue
        block.lines.append(line)
    yield block


def _join_short(blocks: list[_Block], characters_min: int) -> list[_Block]:
    joined: list[_Block] = []
    pending: list[str] = []
    for block in blocks:
        if not block.text:
            continue
        if len(block.text) < characters_min:
            # Its heading says most of a short section: it is kept as a line of text.
            pending += _with_heading(block)
            continue
        joined.append(_Block(block.path, [*pending, *block.text.splitlines()]))
        pending = []
    if pending:
        if joined:
            joined[-1].lines += ["", *pending]
        else:
            joined.append(_Block(blocks[0].path, pending))
    return joined


def _with_heading(block: _Block) -> list[str]:
    return [*([f"**{block.path[-1]}**", ""] if len(block.path) > 1 else []), *block.text.splitlines(), ""]


def _paragraphs(text: str) -> Iterator[str]:
    """Parts between blank lines; a code fence is one part, blank lines and all."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        opened = _FENCE.match(line)
        if opened and not fence:
            fence = opened.group(1)
        elif opened and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        if line.strip() or fence:
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def pieces(text: str, characters_max: int) -> Iterator[str]:
    """Parts of a text, cut at blank lines, never inside a code fence that fits.

    Args:
        text: Markdown.
        characters_max: of a part; a short introduction comes on top.
    """
    if len(text) <= characters_max:
        yield text
        return
    piece = ""
    for paragraph in _with_introductions(_paragraphs(text), characters_max):
        if len(piece) > INTRODUCTION_CHARACTERS_MAX and len(piece) + len(paragraph) + 2 > characters_max:
            yield piece
            piece = ""
        for part in _cut(paragraph, characters_max):
            if len(piece) > INTRODUCTION_CHARACTERS_MAX and len(piece) + len(part) + 2 > characters_max:
                yield piece
                piece = ""
            piece = f"{piece}\n\n{part}" if piece else part
    if piece:
        yield piece


def _with_introductions(paragraphs: Iterator[str], characters_max: int) -> Iterator[str]:
    """Code together with the paragraph before it, if both fit: code without its introduction answers nothing."""
    before = ""
    for paragraph in paragraphs:
        if before and _FENCE.match(paragraph) and len(before) + len(paragraph) + 2 <= characters_max:
            yield f"{before}\n\n{paragraph}"
            before = ""
            continue
        if before:
            yield before
        before = paragraph
    if before:
        yield before


def _cut(paragraph: str, characters_max: int) -> Iterator[str]:
    """A paragraph as it is, or at line ends when nothing else helps (tables, lists, generated code)."""
    opened = _FENCE.match(paragraph)
    limit = characters_max * FENCE_OVERFLOW if opened else characters_max
    if len(paragraph) <= limit:
        yield paragraph
        return
    lines = paragraph.splitlines()
    head, tail = (lines[0], opened.group(1)) if opened else ("", "")
    body = lines[1:-1] if opened else lines
    piece: list[str] = []
    size = 0
    for line in body:
        if piece and size + len(line) > characters_max:
            yield _fenced(piece, head, tail)
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    if piece:
        yield _fenced(piece, head, tail)


def _fenced(lines: list[str], head: str, tail: str) -> str:
    return "\n".join([head, *lines, tail] if head else lines)
