"""Lines of AsciiDoc to a title and sections, with the code taken out.

This knows as much of AsciiDoc's block structure as is needed to tell code, comments, attributes and section titles
from text. What the text means is pandoc's business.

Source: https://docs.asciidoctor.org/asciidoc/latest/blocks/delimited/.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from jeeves_collector.asciidoc.attributes import ENTRY, Attributes
from jeeves_collector.asciidoc.code_blocks import CodeBlock, placeholder
from jeeves_collector.asciidoc.includes import parse_attribute_list
from jeeves_collector.asciidoc.preprocessor import OffsetLine
from jeeves_collector.asciidoc.references import slug

_HEADING = re.compile(r"^(?P<marks>={1,6}|#{1,6})[ \t]+(?P<title>\S.*?)(?:[ \t]+(?P=marks))?$")
_VERBATIM = re.compile(r"^(?P<marks>-{4,}|\.{4,}|`{3,})(?P<info>[^`]*)$")
_CONTAINER = re.compile(r"^(?:={4,}|\*{4,}|_{4,}|--|[|,:!]={3,})$")
_BLOCK_ATTRIBUTES = re.compile(r"^\[(?P<inner>(?:[\w.#%,\"'*].*)?)\]$")
_ANCHOR = re.compile(r"^\[\[(?P<id>[^\],]+)(?:,(?P<text>.*))?\]\]$")
_BLOCK_TITLE = re.compile(r"^\.[^\s.].*$")
_AUTHOR = re.compile(r"^\w[\w.'-]*(?: +\w[\w.'-]*){0,3}(?: +<[^>]+>)?(?:;.*)?$")
_REVISION = re.compile(r"^(?:v?\d[\w.]*(?:,.*)?|v\d.*)$")
_LIST_LIKE = re.compile(r"^\s+(?:[*.-]+ |\d+\. |<[\d.]+> |\|)|::\s|::$")
_ID = re.compile(r"#([\w.:-]+)")
_ITEM = re.compile(r"^(?:\*{1,5}|-|\.{1,5}|\d+\.) \S")
_VIDEO = re.compile(r"^video::(?P<id>[\w-]+)\[youtube[^\]]*\]$")
_NOT_SHOWN = re.compile(r"^(?:toc::\[.*\]|'''+|<<<)$")
_LANGUAGE = re.compile(r"^[\w+#.-]+$")

PIECE_CHARACTERS = 16_384
"""A longer piece is split where that is safe: pandoc's time grows faster than the length of a list."""


@dataclass
class Piece:
    """A section without its subsections, or the text before the first one.

    Attributes:
        level: number of `=` of its title; 1 for the text before the first section.
        title: AsciiDoc; empty for the text before the first section.
        lines: AsciiDoc with placeholders for code.
        blocks: the code, by number of placeholder.
    """

    level: int
    title: str
    lines: list[str] = field(default_factory=list)
    blocks: list[CodeBlock] = field(default_factory=list)


@dataclass
class Scanned:
    """A document before its references are resolved.

    Attributes:
        title: AsciiDoc; empty if it has none.
        pieces: in order; the first is the text before the first section.
        anchors: text to show for each id that a reference can name.
    """

    title: str
    pieces: list[Piece]
    anchors: dict[str, str]


class Scanner:
    """Reads one document.

    Args:
        lines: from the preprocessor.
        attributes: the ones that the preprocessor decides conditionals with; entries are set here.
    """

    _CODE_STYLES: ClassVar[frozenset[str]] = frozenset({"source", "listing", "literal", "pipeline", "console"})
    _LANGUAGE_OF_STYLE: ClassVar[dict[str, str]] = {"pipeline": "groovy"}
    """jenkins.io's own block style for pairs of Declarative and Scripted Pipeline."""

    def __init__(self, lines: Iterable[str], attributes: Attributes) -> None:
        self._lines: Iterator[str] = iter(lines)
        self._attributes = attributes
        self._title = ""
        self._pieces = [Piece(1, "")]
        self._anchors: dict[str, str] = {}
        self._pending: list[str] = []
        self._pending_ids: list[str] = []
        self._containers: list[str] = []
        self._previous_blank = True
        self._header = False

    def scan(self) -> Scanned:
        """Read all lines."""
        for raw in self._lines:
            self._line(raw.rstrip())
        self._flush()
        return Scanned(self._title, self._pieces, self._anchors)

    def _line(self, line: str) -> None:
        if not line:
            self._blank()
        elif self._attribute_entry(line) or (line.startswith("//") and not line.startswith("///")):
            return
        elif re.fullmatch(r"/{4,}", line):
            self._until(line)
        elif self._header and self._header_line(line):
            return
        elif not (self._code(line) or self._block_line(line)):
            self._text(line)
            return
        self._previous_blank = True

    def _blank(self) -> None:
        self._header = False
        # A list continues over blank lines between block attributes and their block.
        # Neither does pandoc read a blank line behind `+`.
        if not self._pending and self._piece.lines[-1:] != ["+"]:
            self._piece.lines.append("")
        self._previous_blank = True

    @property
    def _piece(self) -> Piece:
        return self._pieces[-1]

    def _attribute_entry(self, line: str) -> bool:
        found = ENTRY.match(line)
        if found is None or not (self._previous_blank or self._header):
            return False
        value = line
        while value.endswith(" \\"):
            value = f"{value[:-2].rstrip()} {next(self._lines, '').strip()}"
        return self._attributes.take_entry(value)

    def _header_line(self, line: str) -> bool:
        # Behind the title stand the author and the revision; anything else is text that lacks a blank line.
        return bool(_AUTHOR.match(line) or _REVISION.match(line)) and not line.endswith((".", ":"))

    def _until(self, delimiter: str) -> list[str]:
        lines: list[str] = []
        for line in self._lines:
            if line.rstrip() == delimiter:
                break
            if not isinstance(line, OffsetLine):
                lines.append(line)
        return lines

    # Code.

    def _code(self, line: str) -> bool:
        positional, named = self._style()
        style = re.split(r"[%#.]", positional[0])[0] if positional else ""
        if not style and len(positional) > 1:
            style = "source"  # `[,groovy]`
        is_code_style = style in self._CODE_STYLES
        found = _VERBATIM.match(line)
        if found and (not found["info"] or found["marks"].startswith("`")):
            closing = found["marks"]
            language = (
                found["info"].strip().split(" ")[0] if found["info"] else self._language(style, positional, named)
            )
            self._add_code(language, self._until(closing), named)
        elif is_code_style and line == "--":
            self._add_code(self._language(style, positional, named), self._until(line), named)
        elif is_code_style and not _BLOCK_ATTRIBUTES.match(line) and not _BLOCK_TITLE.match(line):
            if _CONTAINER.match(line):
                return False
            self._add_code(self._language(style, positional, named), [line, *self._paragraph()], named)
        elif self._starts_literal_paragraph(line):
            self._add_code("", _dedent([line, *self._paragraph()]), {})
        else:
            return False
        return True

    def _starts_literal_paragraph(self, line: str) -> bool:
        return (
            self._previous_blank
            and line[0] in " \t"
            and not self._pending
            and not self._containers_hold_cells()
            and not _LIST_LIKE.search(line)
        )

    def _containers_hold_cells(self) -> bool:
        return any(container[0] in "|,:!" for container in self._containers)

    def _paragraph(self) -> list[str]:
        lines: list[str] = []
        for raw in self._lines:
            if not raw.strip():
                break
            lines.append(raw.rstrip())
        return lines

    def _style(self) -> tuple[list[str], dict[str, str]]:
        positional: list[str] = []
        named: dict[str, str] = {}
        for line in self._pending:
            if found := _BLOCK_ATTRIBUTES.match(line):
                more, more_named = parse_attribute_list(found["inner"])
                positional = more if (more and more[0][:1] not in ("", "#", ".", "%")) or not positional else positional
                named.update(more_named)
        return positional, named

    def _language(self, style: str, positional: list[str], named: dict[str, str]) -> str:
        default = self._LANGUAGE_OF_STYLE.get(
            style, self._attributes.get("source-language") if style == "source" else ""
        )
        language = named.get("language") or (positional[1] if len(positional) > 1 else "") or default
        language = self._attributes.resolve(language, count=False).strip().lower()
        return language if _LANGUAGE.match(language) else ""

    def _add_code(self, language: str, lines: list[str], named: dict[str, str]) -> None:
        text = "\n".join(line.rstrip("\n") for line in lines)
        substitutions = named.get("subs", "")
        if re.search(r"(?<!-)\b(?:attributes|normal)\b", substitutions):
            text = self._attributes.resolve(text)
        if not text.strip():
            self._flush(titles_only=True)
            return
        self._start_block()
        self._flush(titles_only=True)
        piece = self._piece
        piece.lines.extend(("----", placeholder(len(piece.blocks)), "----"))
        piece.blocks.append(CodeBlock(language, text))

    # Everything else that is not plain text.

    def _block_line(self, line: str) -> bool:
        if found := _ANCHOR.match(line):
            self._pending_ids.append(found["id"])
            self._anchors[found["id"]] = found["text"] or ""
        elif found := _BLOCK_ATTRIBUTES.match(line):
            if identifier := _ID.search(found["inner"].split(",")[0]):
                self._pending_ids.append(identifier[1])
                self._anchors[identifier[1]] = ""
            self._pending.append(line)
        elif _BLOCK_TITLE.match(line) and self._previous_blank and not self._containers_hold_cells():
            self._pending.append(self._attributes.resolve(line))
        elif re.fullmatch(r"\+{4,}", line):
            self._flush()
            self._piece.lines.extend((line, *self._until(line), line))
        elif _CONTAINER.match(line):
            self._flush()
            self._container(line)
        elif found := _VIDEO.match(line):
            self._flush()
            self._piece.lines.append(f"link:https://www.youtube.com/watch?v={found['id']}[Video]")
        elif _NOT_SHOWN.match(line):
            self._pending.clear()
        else:
            return self._heading(line)
        return True

    def _container(self, line: str) -> None:
        if line in self._containers:
            del self._containers[self._containers.index(line) :]
        else:
            self._containers.append(line)
            if not self._block_attributes_above():
                self._start_block()
        self._piece.lines.append(line)

    def _block_attributes_above(self) -> bool:
        last = self._piece.lines[-1] if self._piece.lines else ""
        return bool(_BLOCK_ATTRIBUTES.match(last) or _BLOCK_TITLE.match(last))

    def _start_block(self) -> None:
        # A delimiter ends a paragraph, but pandoc wants a blank line; behind `+` the block belongs to a list item.
        lines = self._piece.lines
        if self._containers_hold_cells():
            # In a cell it is the other way round.
            while len(lines) > 1 and not lines[-1] and lines[-2].endswith("|"):
                lines.pop()
        elif lines and lines[-1] not in ("", "+"):
            lines.append("")

    def _heading(self, line: str) -> bool:
        found = _HEADING.match(line)
        if found is None or self._containers:
            return False
        level = len(found["marks"]) + self._attributes.level_offset
        title = self._attributes.resolve(found["title"])
        self._name_anchors(title)
        if level <= 1 and not self._title and len(self._pieces) == 1 and not any(self._piece.lines):
            self._title, self._header = title, True
        elif any(re.match(r"\[(?:discrete|float)\b", pending) for pending in self._pending):
            self._piece.lines.extend(("", f"*{title}*", ""))
        else:
            self._pieces.append(Piece(max(level, 2), title))
        self._pending.clear()
        return True

    def _name_anchors(self, title: str) -> None:
        for identifier in self._pending_ids:
            self._anchors[identifier] = self._anchors.get(identifier) or title
        if not self._pending_ids:
            self._anchors.setdefault(slug(title), title)
        self._pending_ids.clear()
        for identifier in re.findall(r"\[\[([^\],]+)(?:,[^\]]*)?\]\]", title):
            self._anchors[identifier] = title

    def _text(self, line: str) -> None:
        self._split_long_piece(line)
        self._flush()
        self._header = False
        if _ITEM.match(line) and self._piece.lines[-1:] == ["+"]:
            # A continuation that continues with nothing.
            self._piece.lines.pop()
        while line == "+" and self._piece.lines[-1:] == [""]:
            # Behind a blank line it would continue the list around this one; pandoc reads it as text.
            self._piece.lines.pop()
        resolved = self._attributes.resolve(line)
        if resolved != line and not line[0].isspace():
            # `{empty} +`: what stands for nothing leaves no indentation, which would begin a literal paragraph.
            resolved = "" if resolved.strip() == "+" else resolved.lstrip(" ")
        self._piece.lines.append(resolved)
        for identifier in re.findall(r"\[\[([\w.:-]+)(?:,[^\]]*)?\]\]|anchor:([\w.:-]+)\[", line):
            self._anchors.setdefault(identifier[0] or identifier[1], "")
        self._previous_blank = False

    def _split_long_piece(self, line: str) -> None:
        # Only where no list or block is cut: at an item of the outermost list, or a paragraph at the margin.
        starts_item = line.startswith("* ")
        starts_paragraph = self._previous_blank and line[0].isalpha() and "::" not in line
        size = sum(map(len, self._piece.lines))
        if size > PIECE_CHARACTERS and (starts_item or starts_paragraph) and not self._containers and not self._pending:
            self._pieces.append(Piece(self._piece.level, ""))

    def _flush(self, *, titles_only: bool = False) -> None:
        shown = [line for line in self._pending if _BLOCK_TITLE.match(line) or not (titles_only or _only_looks(line))]
        if shown:
            self._start_block()
            self._piece.lines.extend(shown)
        self._pending.clear()
        self._pending_ids.clear()


def _only_looks(line: str) -> bool:
    # Roles, ids and options without a style: nothing that Markdown could show.
    inner = line[1:-1]
    return not inner or (inner[0] in "#.%" and "," not in inner) or inner.startswith(("role=", "id=", "role ="))


def _dedent(lines: list[str]) -> list[str]:
    depth = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return [line[depth:] for line in lines]
