"""`GET /v1/search`: what an index finds, with the figures that say why. For people; the gateway reads the file."""

from collections import OrderedDict
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.manifests import IndexManifest
from jeeves_shared.search import SearchIndex

_OPEN_MAX = 2


class FoundPassage(Contract):
    """One hit. Written by the curator; read by the command line and people."""

    rank: int = Field(ge=1)
    score: float
    lexical: float
    similarity: float
    coverage: float
    passage: Passage


class OpenIndexes:
    """The indexes that were asked last, kept open.

    Args:
        store: that holds their files.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._open: OrderedDict[str, SearchIndex] = OrderedDict()
        self._lock = Lock()

    def get(self, index_id: str) -> SearchIndex:
        """An open index.

        Raises:
            NotFound: no index with that id, or its file is gone.
            ArtifactCorrupt, IndexUnusable: its file is damaged or of another version.
        """
        with self._lock:
            if index_id not in self._open:
                manifest = self._store.get_manifest(IndexManifest, "index", index_id)
                self._open[index_id] = SearchIndex.open(self._store.path(manifest.artifact))
            self._open.move_to_end(index_id)
            if len(self._open) > _OPEN_MAX:
                # Not closed here: another thread may still search in it; it goes when the last one lets go of it.
                self._open.popitem(last=False)
            return self._open[index_id]


def search_router(store: ArtifactStore) -> APIRouter:
    """The route.

    Args:
        store: that holds the indexes.
    """
    router = APIRouter(prefix="/v1/search", tags=["search"])
    indexes = OpenIndexes(store)

    @router.get("", summary="Sections of an index that answer a question best")
    def search(
        index: Annotated[str, Query(description="Id of an index manifest.")],
        q: Annotated[str, Query(min_length=1, max_length=2000, description="The question.")],
        top: Annotated[int, Query(ge=1, le=50)] = 8,
    ) -> list[FoundPassage]:
        return [
            FoundPassage(
                rank=hit.rank,
                score=hit.score,
                lexical=hit.lexical,
                similarity=hit.similarity,
                coverage=hit.coverage,
                passage=hit.passage,
            )
            for hit in indexes.get(index).search(q, top)
        ]

    return router
