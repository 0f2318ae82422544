"""Sources to documents and pairs, with a record of all that was left out or left open."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from jeeves_collector.asciidoc.convert import PreparedDocument
from jeeves_collector.conversion import Conversion, ConvertedItem
from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import language_of
from jeeves_collector.git import without_secret
from jeeves_collector.markdown import scan_fences
from jeeves_collector.pairs import pair_files, read_pairs
from jeeves_collector.state import CollectorState, Retrieval
from jeeves_collector.tree import TreeItem, TreeReader, refuse_stub
from jeeves_collector.walk import Tree
from jeeves_shared.contracts.documents import Document, Pair, Provenance
from jeeves_shared.contracts.recipes import PairsSource, TreeSource
from jeeves_shared.errors import SourceUnusable

Report = Callable[[float, str], None]
"""Called with the share of a source that is done, in [0, 1], and with its present item."""

logger = logging.getLogger(__name__)


@dataclass
class Gathered:
    """What has been collected so far.

    Attributes:
        documents: in order of their sources.
        pairs: by id.
        drops: items left out, by reason.
        code_blocks: fenced blocks in all documents.
        unresolved_attributes, unresolved_references: how often, by name; they stay in the text.
        refused_includes: document and target of each include that was left out.
        unconverted: documents with sections that stayed AsciiDoc.
    """

    documents: list[Document] = field(default_factory=list)
    pairs: dict[str, Pair] = field(default_factory=dict)
    drops: Counter[str] = field(default_factory=Counter)
    code_blocks: int = 0
    unresolved_attributes: Counter[str] = field(default_factory=Counter)
    unresolved_references: Counter[str] = field(default_factory=Counter)
    refused_includes: list[str] = field(default_factory=list)
    unconverted: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """For the progress of the job."""
        return {
            "documents": len(self.documents),
            "code_blocks": self.code_blocks,
            "pairs": len(self.pairs),
            "dropped": self.drops.total(),
            "unresolved_attributes": self.unresolved_attributes.total(),
            "unresolved_references": self.unresolved_references.total(),
        }

    def drop(self, dropped: Dropped, item: str) -> None:
        """Count an item that was left out."""
        self.drops[dropped.reason.value] += 1
        logger.info("dropped", extra={"item": item, "reason": dropped.reason.value, "detail": str(dropped)})


def gather_tree(
    source: TreeSource,
    tree: Tree,
    revision: str,
    *,
    conversion: Conversion,
    state: CollectorState,
    gathered: Gathered,
    report: Report,
) -> None:
    """Read a folder of documents.

    Args:
        source: of the recipe.
        tree: its files.
        revision: git commit, or empty.
        conversion: to Markdown.
        state: knows when each document was first seen.
        gathered: is added to.
        report: is told of each file.

    Raises:
        SourceUnusable: no file matches, or none is a usable document.
    """
    location = without_secret(source.location)
    if not tree.files:
        raise SourceUnusable(
            f"{location} holds no file that matches {', '.join(source.include)}: "
            "give a folder of AsciiDoc or Markdown files."
        )
    drops_before = gathered.drops.copy()
    converted = list(_converted(source, tree, conversion, gathered, report))
    if not converted:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted((gathered.drops - drops_before).items()))
        raise SourceUnusable(
            f"{location} holds no usable document; its {len(tree.files)} files were dropped: {reasons}. "
            "Give a folder whose files have text in them."
        )
    seen = state.first_seen({one.item.source_path: one.item.sha256 for one in converted}, revision)
    gathered.documents.extend(_document(one, source, seen[one.item.source_path]) for one in converted)


def _converted(
    source: TreeSource, tree: Tree, conversion: Conversion, gathered: Gathered, report: Report
) -> Iterator[ConvertedItem]:
    reader = TreeReader(source, tree)

    def readable() -> Iterator[TreeItem]:
        for done, relative in enumerate(tree.files):
            report(done / len(tree.files), relative)
            try:
                yield reader.read(relative)
            except Dropped as exc:
                gathered.drop(exc, f"{source.name}/{relative}")

    for one in conversion.convert(readable()):
        try:
            refuse_stub(one.markdown)
        except Dropped as exc:
            gathered.drop(exc, one.item.source_path)
            continue
        _note_findings(one, gathered)
        gathered.code_blocks += len(scan_fences(one.markdown)[0])
        yield one


def _note_findings(one: ConvertedItem, gathered: Gathered) -> None:
    path = one.item.source_path
    if one.unconverted:
        gathered.unconverted.append(f"{path} ({one.unconverted})")
    if isinstance(one.item.body, PreparedDocument):
        body = one.item.body
        gathered.drops.update({reason.value: number for reason, number in body.refused_includes.items()})
        gathered.refused_includes.extend(f"{path}: {target}" for target in body.refused_targets)
        gathered.unresolved_attributes.update(body.unresolved_attributes)
        gathered.unresolved_references.update(body.unresolved_references)


def _document(one: ConvertedItem, source: TreeSource, seen: Retrieval) -> Document:
    item = one.item
    return Document(
        source_path=item.source_path,
        title=item.title,
        section_path=item.section_path,
        language=language_of(one.markdown),
        kind=item.kind,
        text=one.markdown,
        provenance=Provenance(
            url=item.url,
            retrieved_at=seen.at,
            licence=source.licence,
            author=source.author,
            sha256=item.sha256,
            source_revision=seen.revision,
        ),
    )


def gather_pairs(source: PairsSource, gathered: Gathered, report: Report) -> None:
    """Read files of pairs.

    Args:
        source: of the recipe.
        gathered: is added to.
        report: is told of each file.

    Raises:
        SourceUnusable: nothing to read, or no pair in it.
    """
    files = pair_files(source)
    before = len(gathered.pairs)
    for done, path in enumerate(files):
        report(done / len(files), path.name)
        for pair in read_pairs(source, path):
            if isinstance(pair, Dropped):
                gathered.drop(pair, source.name)
            elif pair.id in gathered.pairs:
                gathered.drop(Dropped(DropReason.PAIR_DUPLICATE_ID, pair.id), source.name)
            else:
                gathered.pairs[pair.id] = pair
    if len(gathered.pairs) == before:
        raise SourceUnusable(
            f"{source.location} holds no usable pair: a line needs at least question, answer and source_path."
        )
