"""Source `tree`: folders, git repositories, git bundles and archives, through one reader of files."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from jeeves_collector.archives import is_archive, unpack
from jeeves_collector.asciidoc.convert import PreparedDocument
from jeeves_collector.asciidoc.pandoc import find_pandoc
from jeeves_collector.conversion import Conversion, ConvertedItem
from jeeves_collector.drops import Dropped
from jeeves_collector.encoding import language_of
from jeeves_collector.git import fetch, is_git_address, without_secret
from jeeves_collector.markdown import scan_fences
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.tree import TreeItem, TreeReader, refuse_stub
from jeeves_collector.walk import Tree, walk
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.documents import Document, Provenance
from jeeves_shared.contracts.sources import TreeSource
from jeeves_shared.errors import SourceUnusable

_PAGE_ITEMS = 64
_ABOVE_ROOT = 4
"""Folders above the root in which an `antora.yml` counts."""


@dataclass(frozen=True)
class _Files:
    """The files of a source, wherever they came from."""

    tree: Tree
    revision: str
    drops: tuple[Drop, ...] = ()


class TreeFiles:
    """Reads a tree. Every run begins anew, but what was converted before costs nothing.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: TreeSource, workplace: Workplace) -> None:
        self._source = source
        self.figures = FetchFigures()
        self._workplace = workplace
        self._files = 0

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """All documents in order of their paths, unless no file of the tree changed since the last run."""
        files = self._fetch()
        self._files = len(files.tree.files)
        if not files.tree.files:
            raise SourceUnusable(
                f"{without_secret(self._source.location)} holds no file that matches "
                f"{', '.join(self._source.include)}: give a folder of AsciiDoc or Markdown files."
            )
        watermark = {"files": _fingerprint(files.tree), "converter": find_pandoc().fingerprint, "code": _own_code()}
        if past.watermark == watermark:
            yield Finished(watermark, all_unchanged=True, source_revision=files.revision)
            return
        page: list[Item] = [Item(f"\0{drop.item}", "", drops=(drop,)) for drop in files.drops]
        for item in self._items(files):
            page.append(item)
            if len(page) >= _PAGE_ITEMS:
                yield Page(tuple(page))
                page.clear()
        yield Page(tuple(page), done=1.0)
        yield Finished(watermark, source_revision=files.revision)

    def emptiness(self, drops: Counter[str]) -> str:
        """No file of it is a document."""
        return (
            f"{without_secret(self._source.location)} holds no usable document; its {self._files} files were dropped: "
            f"{counted(drops)}. Give a folder whose files have text in them."
        )

    def _fetch(self) -> _Files:
        source, layout = self._source, self._workplace.layout
        if is_git_address(source.location):
            checkout = fetch(source.location, layout.clones, self._workplace.settings.collector_git_timeout_seconds)
            return _Files(walk(checkout.folder, source.include, source.exclude), checkout.revision)
        location = Path(source.location).expanduser()
        if is_archive(location):
            unpacked = unpack(location, layout.archives)
            return _Files(walk(unpacked.folder, source.include, source.exclude), unpacked.sha256, unpacked.drops)
        return _Files(walk(location, source.include, source.exclude), "")

    def _items(self, files: _Files) -> Iterator[Item]:
        reader = TreeReader(self._source, files.tree)
        settings = self._workplace.settings
        conversion = Conversion(
            self._workplace.state, settings.collector_pandoc_processes, settings.collector_conversion_timeout_seconds
        )
        dropped: list[Item] = []

        def readable() -> Iterator[TreeItem]:
            for done, relative in enumerate(files.tree.files):
                self._workplace.report(done / len(files.tree.files), relative)
                try:
                    yield reader.read(relative)
                except Dropped as exc:
                    path = f"{self._source.name}/{relative}"
                    dropped.append(Item(path, "", drops=(Drop.of(path, exc),)))

        for one in conversion.convert(readable()):
            yield self._item(one, files.revision)
            yield from dropped
            dropped.clear()
        yield from dropped

    def _item(self, one: ConvertedItem, revision: str) -> Item:
        path = one.item.source_path
        try:
            refuse_stub(one.markdown)
        except Dropped as exc:
            return Item(path, one.item.sha256, drops=(Drop.of(path, exc),))
        drops: tuple[Drop, ...] = ()
        findings: dict[str, Counter[str]] = {}
        if isinstance(one.item.body, PreparedDocument):
            body = one.item.body
            drops = tuple(Drop(f"{path}: {target}", reason.value) for reason, target in body.refused_includes)
            findings = {
                "unresolved attributes": body.unresolved_attributes,
                "unresolved references": body.unresolved_references,
                "unresolved includes": Counter(f"{path}: {target}" for _, target in body.refused_includes),
                "unconverted sections": Counter({path: one.unconverted} if one.unconverted else {}),
            }
        return Item(
            path,
            one.item.sha256,
            content=(self._document(one, revision),),
            drops=drops,
            findings={kind: names for kind, names in findings.items() if names},
            code_blocks=len(scan_fences(one.markdown)[0]),
        )

    def _document(self, one: ConvertedItem, revision: str) -> Document:
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
                retrieved_at=self._workplace.retrieved_at,
                licence=self._source.licence,
                author=self._source.author,
                sha256=item.sha256,
                source_revision=revision,
            ),
        )


@lru_cache(maxsize=1)
def _own_code() -> str:
    """Changes with the collector itself: what another version of it reads may come out differently."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.lua")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _fingerprint(tree: Tree) -> str:
    """Changes when any file of the tree may have: a document depends on what it includes, too.

    Source: as git's index, https://git-scm.com/docs/racy-git; the change time cannot be set back.
    """
    digest = hashlib.sha256()
    above = [folder / "antora.yml" for folder in tree.root.parents[:_ABOVE_ROOT]]
    for path in [path for path in above if path.is_file()]:
        digest.update(_stamp(path))
    for folder, folders, names in os.walk(tree.root):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            path = Path(folder) / name
            digest.update(path.relative_to(tree.root).as_posix().encode("utf-8", errors="surrogateescape"))
            digest.update(_stamp(path))
    return digest.hexdigest()


def _stamp(path: Path) -> bytes:
    try:
        stat = path.stat()
    except OSError:
        return b"\0gone\0"
    return f"\0{stat.st_size},{stat.st_mtime_ns},{stat.st_ctime_ns}\0".encode()
