"""A document of AsciiDoc to Markdown.

`prepare` does all that depends on other files and costs little; its result says exactly what pandoc will be asked, so
that equal questions are answered from memory. `convert_piece` asks pandoc; `assemble` puts the document together.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jeeves_collector.asciidoc.attributes import Attributes
from jeeves_collector.asciidoc.code_blocks import CodeBlock, CodeLost, restore, restore_plain
from jeeves_collector.asciidoc.inline_code import shield, unshield
from jeeves_collector.asciidoc.pandoc import ConversionFailed, PandocPool
from jeeves_collector.asciidoc.preprocessor import IncludeResolver, Preprocessor
from jeeves_collector.asciidoc.references import PageResolver, References
from jeeves_collector.asciidoc.scanner import Piece, Scanner
from jeeves_collector.drops import DropReason

_LIST_SEPARATOR = re.compile(r"^[ \t>]*<!-- -->\n\n?", re.MULTILINE)
"""pandoc's mark between two lists; nothing for a reader."""
_UNCONVERTED = "\0"
"""Title of a remembered conversion that failed: pandoc fails again on the same text."""


@dataclass(frozen=True)
class PreparedPiece:
    """One question to pandoc.

    Attributes:
        level: of the section's heading; 1 for the text before the first section.
        title: AsciiDoc, one line; empty for the text before the first section.
        text: AsciiDoc with placeholders.
        blocks: the code, by number of placeholder.
    """

    level: int
    title: str
    text: str
    blocks: tuple[CodeBlock, ...]

    @property
    def request(self) -> str:
        """What pandoc reads; without a final line end it would miss the end of a table."""
        return f"JEEVESTITLE {self.title}\n\n{self.text}\n" if self.title else f"{self.text}\n"

    def key(self, fingerprint: str) -> str:
        """Identity of the question: of the text, and of the program that is asked."""
        kind = "section" if self.title else "text"
        return hashlib.sha256(f"{fingerprint}\0{kind}\0{self.request}".encode()).hexdigest()


@dataclass(frozen=True)
class PreparedDocument:
    """A document that only needs pandoc.

    Attributes:
        title: AsciiDoc; empty if it has none.
        pieces: in order.
        refused_includes: reason, and target with what is wrong with it.
        unresolved_attributes, unresolved_references: how often, by name; their text stays.
    """

    title: str
    pieces: tuple[PreparedPiece, ...]
    refused_includes: tuple[tuple[DropReason, str], ...]
    unresolved_attributes: Counter[str]
    unresolved_references: Counter[str]


@dataclass(frozen=True)
class Converted:
    """What became of a piece.

    Attributes:
        title: Markdown, one line.
        markdown: with placeholders.
        failed: pandoc could not; the AsciiDoc stands for the Markdown.
    """

    title: str
    markdown: str
    failed: bool = False

    def to_row(self) -> tuple[str, str]:
        """For the state file."""
        return (_UNCONVERTED if self.failed else self.title, self.markdown)

    @classmethod
    def from_row(cls, row: tuple[str, str]) -> "Converted":
        """From the state file."""
        title, markdown = row
        return cls("", markdown, failed=True) if title == _UNCONVERTED else cls(title, markdown)


def prepare(
    path: Path,
    text: str,
    attributes: Mapping[str, str],
    *,
    includes: IncludeResolver,
    pages: PageResolver,
    macros: Mapping[str, str],
) -> PreparedDocument:
    """All but pandoc: includes, conditionals, attributes, code, references.

    Args:
        path: of the document.
        text: without front matter.
        attributes: of the site and of the page's place in it.
        includes: finds included files.
        pages: finds pages that references name.
        macros: base address by name of the site's own inline macros.

    Raises:
        Dropped: its includes blow it up beyond all measure.
    """
    state = Attributes(attributes)
    preprocessor = Preprocessor(path, text, state, includes)
    scanned = Scanner(preprocessor, state).scan()
    references = References(pages, scanned.anchors, macros)
    pieces = tuple(_prepared(piece, references) for piece in scanned.pieces)
    return PreparedDocument(
        title=references.resolve(scanned.title),
        pieces=tuple(piece for piece in pieces if piece.title or piece.text),
        refused_includes=tuple(preprocessor.refused),
        unresolved_attributes=state.unresolved,
        unresolved_references=references.unresolved,
    )


def _prepared(piece: Piece, references: References) -> PreparedPiece:
    text = re.sub(r"\n{3,}", "\n\n", shield(references.resolve("\n".join(piece.lines)))).strip("\n")
    return PreparedPiece(piece.level, shield(references.resolve(piece.title)), text, tuple(piece.blocks))


def convert_piece(piece: PreparedPiece, pool: PandocPool) -> Converted:
    """Ask pandoc; where it fails or loses code, the AsciiDoc stays, so that nothing is lost."""
    try:
        title, markdown = pool.convert(piece.request, heading=bool(piece.title))
        restore(markdown, piece.blocks)
    except (ConversionFailed, CodeLost):
        return Converted("", unshield(piece.text), failed=True)
    return Converted(title, markdown)


def assemble(title: str, pieces: Sequence[PreparedPiece], converted: Sequence[Converted]) -> str:
    """The Markdown of a document.

    Args:
        title: Markdown, one line.
        pieces: from `prepare`.
        converted: for each piece.
    """
    parts = [f"# {title}"]
    for piece, result in zip(pieces, converted, strict=True):
        if piece.title:
            parts.append(f"{'#' * min(piece.level, 6)} {result.title or plain_title(piece.title)}")
        back = restore_plain if result.failed else restore
        body = back(_LIST_SEPARATOR.sub("", result.markdown), piece.blocks).strip("\n")
        if body:
            parts.append(body)
    return "\n\n".join(parts) + "\n"


def plain_title(title: str) -> str:
    """A title of AsciiDoc as text: without macros and marks."""
    title = re.sub(r"\[\[[^\]]*\]\]|anchor:\S*?\[\]", "", unshield(title))
    title = re.sub(r"(?:link:)?(?:\+\+)?https?://[^\s\[]*\[([^\]]*)\]", r"\1", title)
    return re.sub(r"(?<!\w)([*_`]{1,2})(\S.*?)\1(?!\w)", r"\2", title).strip()
