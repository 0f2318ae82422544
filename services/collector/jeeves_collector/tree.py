"""Source `tree`: a folder or git repository of AsciiDoc, Markdown and (if asked for) HTML files."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from jeeves_collector.addresses import Addresses, KnownSite, known_site
from jeeves_collector.antora import AntoraSite, Place, find_components, title_in
from jeeves_collector.asciidoc.convert import PreparedDocument, plain_title, prepare
from jeeves_collector.asciidoc.references import Target
from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import decode
from jeeves_collector.html import to_markdown
from jeeves_collector.markdown import FrontMatter, first_heading, scan_fences, split_front_matter
from jeeves_collector.static_sites import find_static_site
from jeeves_collector.walk import Tree
from jeeves_shared.contracts.documents import DocumentKind
from jeeves_shared.contracts.recipes import TreeSource

STUB_CHARACTERS = 40
"""A document with less text than this, its title apart, says nothing."""
FILE_BYTES_MAX = 8 * 1024 * 1024
"""Written documentation is smaller; the largest generated page of the Jenkins site has 1.4 MB."""
_ASCIIDOC = frozenset({".adoc", ".asciidoc"})
_HTML = frozenset({".html", ".htm"})
_PARTIAL_FOLDERS = frozenset({"_partials", "_includes", "_layouts", "_snippets", "_attributes", "_templates"})
_KIND_BY_FOLDER: Mapping[str, DocumentKind] = {
    "tutorials": "how-to",
    "tutorial": "how-to",
    "how-to": "how-to",
    "howto": "how-to",
    "changelog": "release-note",
    "release-notes": "release-note",
}


@dataclass(frozen=True)
class TreeItem:
    """One file, read and prepared.

    Attributes:
        source_path: `<source name>/<path>`.
        sha256: of the bytes.
        title: plain text or Markdown.
        section_path: titles above it.
        url: public address; empty if there is none.
        kind: of document.
        body: Markdown, or AsciiDoc that only needs pandoc.
    """

    source_path: str
    sha256: str
    title: str
    section_path: tuple[str, ...]
    url: str
    kind: DocumentKind
    body: str | PreparedDocument


class TreeReader:
    """Reads the files of one tree.

    Args:
        source: of the recipe.
        tree: its files.
    """

    def __init__(self, source: TreeSource, tree: Tree) -> None:
        self._source = source
        self._tree = tree
        components = tree.components if source.layout in ("auto", "antora") else ()
        self._antora = find_components(tree.root, list(components)) if components else AntoraSite(())
        names = frozenset(component.name for component in self._antora.components)
        self._site: KnownSite | None = known_site(source.name, source.address, names)
        self._addresses = Addresses(source.address, source.location, self._site)
        self._static = (
            find_static_site(tree.root, asked=source.layout == "site")
            if source.layout in ("auto", "site") and not self._antora.components
            else None
        )
        self._navigation = self._antora.navigation()
        self._title_in = lru_cache(maxsize=None)(title_in)
        self._included = lru_cache(maxsize=256)(_read_text)

    def read(self, relative: str) -> TreeItem:
        """Read one file.

        Args:
            relative: from the tree's list.

        Raises:
            Dropped: it is not a document, or cannot be used.
        """
        path = self._tree.root / relative
        place = self._antora.place(path)
        self._refuse_by_name(PurePosixPath(relative), place)
        data = _read_bytes(path, self._tree.root)
        if not data.strip():
            raise Dropped(DropReason.EMPTY)
        front_matter, text = split_front_matter(decode(data))
        body: str | PreparedDocument
        if path.suffix in _ASCIIDOC:
            body, title = self._asciidoc(path, relative, text, front_matter)
        elif path.suffix in _HTML:
            body = to_markdown(text).markdown
            title = front_matter.title or first_heading(body)
        else:
            body, title = text, front_matter.title or first_heading(text)
        return TreeItem(
            source_path=f"{self._source.name}/{relative}",
            sha256=hashlib.sha256(data).hexdigest(),
            title=title or path.stem.replace("-", " ").replace("_", " ").strip().capitalize() or path.stem,
            section_path=self._section_path(path, relative, place),
            url=self._address(PurePosixPath(relative), place, front_matter),
            kind=self._kind(relative, place),
            body=body,
        )

    def _address(self, relative: PurePosixPath, place: Place | None, front_matter: FrontMatter) -> str:
        if self._static is None or not self._source.address:
            return self._addresses.of(relative, place)
        path = self._static.path_of(relative, front_matter.fields)
        published = path or self._static.pages / f"index{relative.suffix}" == relative
        return f"{self._source.address.rstrip('/')}/{path}" if published else ""

    def _refuse_by_name(self, relative: PurePosixPath, place: Place | None) -> None:
        if relative.name in ("nav.adoc", "_nav.adoc"):
            raise Dropped(DropReason.NAVIGATION)
        partial = relative.name.startswith("_") or not _PARTIAL_FOLDERS.isdisjoint(relative.parts)
        if partial or (place is not None and not place.is_page):
            raise Dropped(DropReason.PARTIAL)

    def _asciidoc(
        self, path: Path, relative: str, text: str, front_matter: FrontMatter
    ) -> tuple[PreparedDocument, str]:
        lookup = _Lookup(self, path)
        macros = self._site.macros if self._site else {}
        prepared = prepare(path, text, self._attributes(path, relative), includes=lookup, pages=lookup, macros=macros)
        first = next((piece.title for piece in prepared.pieces if piece.title), "")
        return prepared, front_matter.title or plain_title(prepared.title) or plain_title(first)

    def _attributes(self, path: Path, relative: str) -> dict[str, str]:
        place = self._antora.place(path)
        attributes = dict(self._site.attributes) if self._site else {}
        attributes |= {"docname": PurePosixPath(relative).stem, "env": "site", "env-site": ""}
        if place is not None:
            attributes |= {
                **place.component.attributes,
                "page-component-name": place.component.name,
                "page-component-title": place.component.title,
                "page-component-version": place.component.version,
                "page-module": place.module,
                "page-relative-src-path": str(place.relative),
            }
        return attributes

    def _section_path(self, path: Path, relative: str, place: Place | None) -> tuple[str, ...]:
        if path in self._navigation:
            return tuple(plain_title(title) for title in self._navigation[path])
        if place is None:
            return tuple(_named(part) for part in PurePosixPath(relative).parts[:-1])
        module = () if place.module == "ROOT" else (_named(place.module),)
        return (place.component.title, *module, *(_named(part) for part in place.relative.parts[:-1]))

    def _kind(self, relative: str, place: Place | None) -> DocumentKind:
        names = [*PurePosixPath(relative).parts[:-1], PurePosixPath(relative).stem]
        names += [place.component.name] if place else []
        return next((_KIND_BY_FOLDER[name.lower()] for name in names if name.lower() in _KIND_BY_FOLDER), "reference")

    # What includes and references need.

    def find(self, target: str, including: Path, family: str) -> Path | None:
        """A file of the tree that a target names; None if there is none.

        Raises:
            Dropped: the target leads out of the tree.
        """
        place = self._antora.place(including)
        candidates: tuple[Path, ...] = ()
        if place is not None and (":" in target or "$" in target or family == "page"):
            candidates = self._antora.locate(target, place, family)
        candidates += (including.parent / target, self._tree.root / target)
        for candidate in candidates:
            try:
                path = candidate.resolve()
                if path.is_file():
                    _refuse_outside(path, self._tree.root)
                    return path
            except (OSError, ValueError):
                # A name that the file system cannot hold.
                continue
        return None

    def refuse_escape(self, target: str, including: Path) -> None:
        """Refuse a target that leads out of the tree, whether a file is there or not.

        Raises:
            Dropped: it does.
        """
        if "://" in target or Path(target).is_absolute():
            raise Dropped(DropReason.INCLUDE_OUTSIDE, "an address or an absolute path")
        if "$" not in target and ":" not in target:
            _refuse_outside((including.parent / target).resolve(), self._tree.root)

    def included(self, path: Path) -> str:
        """Text of an included file.

        Raises:
            Dropped: it cannot be used.
        """
        return self._included(path, self._tree.root)

    def foreign_page(self, target: str) -> Target | None:
        """Address of a page that is not in this tree but in another part of a known site."""
        place = self._antora.elsewhere(target) if self._site else None
        url = self._addresses.of(PurePosixPath(target), place) if place else ""
        return Target(url, "") if url else None

    def page(self, path: Path) -> Target:
        """Address and title of a page."""
        relative = path.relative_to(self._tree.root).as_posix()
        url = self._addresses.of(PurePosixPath(relative), self._antora.place(path))
        return Target(url, plain_title(self._title_in(path)))


class _Lookup:
    """Includes and references, seen from one document."""

    def __init__(self, reader: TreeReader, path: Path) -> None:
        self._reader = reader
        self._path = path

    def resolve(self, target: str, including: Path) -> Path:
        self._reader.refuse_escape(target, including)
        path = self._reader.find(target, including, "page")
        if path is None:
            raise Dropped(DropReason.INCLUDE_MISSING, "not there")
        return path

    def read(self, path: Path) -> str:
        return self._reader.included(path)

    def page(self, target: str) -> Target | None:
        if not target:
            return self._reader.page(self._path)
        for name in (target, f"{target}.adoc"):
            try:
                found = self._reader.find(name, self._path, "page")
            except Dropped:
                return None
            if found is not None:
                return self._reader.page(found)
        return self._reader.foreign_page(target)


def _refuse_outside(path: Path, root: Path) -> None:
    if not path.is_relative_to(root):
        raise Dropped(DropReason.INCLUDE_OUTSIDE, "leads out of the source")


def _read_bytes(path: Path, root: Path) -> bytes:
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            raise Dropped(DropReason.LINK_OUTSIDE)
        if real.stat().st_size > FILE_BYTES_MAX:
            raise Dropped(DropReason.TOO_LARGE)
        return real.read_bytes()
    except OSError as exc:
        raise Dropped(DropReason.UNREADABLE, str(exc)) from exc


def _read_text(path: Path, root: Path) -> str:
    return split_front_matter(decode(_read_bytes(path, root)))[1]


def refuse_stub(markdown: str) -> None:
    """Refuse a document without content.

    Args:
        markdown: the whole document.

    Raises:
        Dropped: less text than `STUB_CHARACTERS`, its title apart.
    """
    blocks, prose = scan_fences(markdown)
    text = [line for line in prose if not line.startswith("# ")]
    if len(" ".join(" ".join((*blocks, *text)).split())) < STUB_CHARACTERS:
        raise Dropped(DropReason.STUB)


def _named(folder: str) -> str:
    return folder.replace("-", " ").replace("_", " ").strip().capitalize()
