"""The served search index: opened beside the old one, swapped at once, closed when nobody reads it any more."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.unknown_names import unknown_names
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.manifests import IndexManifest
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT
from jeeves_shared.errors import JeevesError
from jeeves_shared.search import Topicality

HITS = 8
"""Sections looked at: three go into the prompt, the others can still be quoted."""
WHOLE_SECTIONS = PASSAGES_IN_PROMPT
QUOTED_CHARACTERS_MAX = 2000
"""A section that was cut for the prompt is quoted whole up to this length.

Source: 66 held-out questions on the handbook: the best section's part holds 64 % of the key terms, the section up to
2,000 characters 76 %, up to 3,000 77 % (docs/experiments.md).
"""
_PROBE = "How do I configure Jenkins?"


class FoundSection(Protocol):
    """A hit of the index."""

    @property
    def rank(self) -> int:
        """1 is the best."""

    @property
    def score(self) -> float:
        """Fused, in [0, 1]."""

    @property
    def similarity(self) -> float:
        """Cosine of question and section."""

    @property
    def sentence(self) -> float:
        """Cosine by the index's sentence encoder; 0 without one."""

    @property
    def coverage(self) -> float:
        """IDF-weighted share of the question's content terms that occur, in [0, 1]."""

    @property
    def passage(self) -> Passage:
        """The section's text and where it is from."""


class SearchableIndex(Protocol):
    """What the gateway needs of a search index; `jeeves_shared.search` has the real one."""

    @property
    def sections(self) -> int:
        """How many there are."""

    def search(self, question: str, limit: int = 8) -> Sequence[FoundSection]:
        """The best sections, best first. May be called from several threads."""

    def whole_section(self, passage: Passage, characters_max: int) -> Passage:
        """A hit together with the other parts of its section, as far as they fit."""

    def unknown_identifiers(self, question: str) -> list[str]:
        """Identifiers of the question that occur nowhere."""

    def topicality(self, question: str) -> Topicality:
        """Whether the question speaks of what the index is about."""

    def close(self) -> None:
        """Give the file back."""


OpenIndex = Callable[[Path], SearchableIndex]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was found for a question.

    Attributes:
        wholes: by section id, the first hits with the other parts of their sections.
    """

    index_id: str
    documents: int
    sections: int
    found: tuple[FoundSection, ...]
    unknown: tuple[str, ...]
    topicality: Topicality
    wholes: Mapping[str, Passage] = field(default_factory=dict)

    def whole(self, passage: Passage) -> Passage:
        """A passage as it may be quoted: the whole section where it was found."""
        return self.wholes.get(passage.section_id, passage)


@dataclass(slots=True, eq=False)
class _Opened:
    manifest: IndexManifest
    index: SearchableIndex
    readers: int = 0
    retired: bool = False

    def close_if_unused(self) -> None:
        if self.retired and self.readers == 0:
            self.index.close()


class Library:
    """The index that is served now.

    Args:
        store: where the files come from.
        open_index: opens an index file.
        metrics: gets the search times.
    """

    def __init__(self, store: ArtifactStore, open_index: OpenIndex, metrics: GatewayMetrics) -> None:
        self._store = store
        self._open_index = open_index
        self._metrics = metrics
        self._current: _Opened | None = None
        self._swapping = asyncio.Lock()

    @property
    def manifest(self) -> IndexManifest | None:
        """Of the served index; None before the first."""
        return self._current.manifest if self._current else None

    async def serve(self, manifest: IndexManifest) -> bool:
        """Serve another index: fetch, verify, open, ask it something, then swap. On any error the old one goes on.

        Returns:
            False if it is served already.

        Raises:
            NotFound, ArtifactCorrupt: the file is missing or damaged.
            JeevesError: it is no index that this release can read.
        """
        async with self._swapping:
            if self._current is not None and self._current.manifest.id == manifest.id:
                return False
            index = await asyncio.to_thread(self._open, manifest)
            old, self._current = self._current, _Opened(manifest, index)
            self._metrics.index_sections.set(index.sections)
            if old is not None:
                old.retired = True
                old.close_if_unused()
            return True

    def _open(self, manifest: IndexManifest) -> SearchableIndex:
        index = self._open_index(self._store.path(manifest.artifact))
        try:
            index.search(_PROBE, 1)
        except JeevesError:
            index.close()
            raise
        return index

    async def search(self, question: str) -> Retrieved | None:
        """Search the served index.

        Returns:
            None if there is no index.
        """
        opened = self._current
        if opened is None:
            return None
        opened.readers += 1
        started = time.perf_counter()
        try:
            found = await asyncio.to_thread(opened.index.search, question, HITS)
            unknown = await asyncio.to_thread(unknown_names, question, opened.index, [hit.passage for hit in found])
            topicality = await asyncio.to_thread(opened.index.topicality, question)
            wholes = await asyncio.to_thread(_wholes, opened.index, found[:WHOLE_SECTIONS])
        finally:
            opened.readers -= 1
            opened.close_if_unused()
        self._metrics.retrieval_seconds.observe(time.perf_counter() - started)
        return Retrieved(
            index_id=opened.manifest.id,
            documents=opened.manifest.documents,
            sections=opened.index.sections,
            found=tuple(found),
            unknown=unknown,
            topicality=topicality,
            wholes=wholes,
        )

    def close(self) -> None:
        """Close the served index."""
        opened, self._current = self._current, None
        if opened is not None:
            opened.retired = True
            opened.close_if_unused()


def _wholes(index: SearchableIndex, found: Sequence[FoundSection]) -> dict[str, Passage]:
    return {hit.passage.section_id: index.whole_section(hit.passage, QUOTED_CHARACTERS_MAX) for hit in found}
