"""Routes besides the job resource: stored manifests, and the kinds of sources."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from jeeves_collector.jobs import MANIFEST_KIND
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.contracts.recipes import PairsSource, TreeSource


class SourceKind(Contract):
    """A kind of source that a recipe can name. Read by the command line and by people."""

    type: str
    description: str
    recipe_schema: dict[str, Any] = Field(description="JSON schema of the source in a recipe.")


def sources_router() -> APIRouter:
    """`GET /v1/sources`."""
    router = APIRouter(prefix="/v1/sources", tags=["sources"])

    @router.get("", summary="Kinds of sources, each with the JSON schema of its part of a recipe")
    async def index() -> list[SourceKind]:
        return [
            SourceKind(
                type=source.model_fields["type"].default,
                description=(source.__doc__ or "").strip(),
                recipe_schema=source.model_json_schema(),
            )
            for source in (TreeSource, PairsSource)
        ]

    return router


def manifests_router(store: ArtifactStore) -> APIRouter:
    """`GET /v1/manifests` and `GET /v1/manifests/{manifest_id}`: collections that are in the store.

    Args:
        store: the artifact store.
    """
    router = APIRouter(prefix="/v1/manifests", tags=["manifests"])

    # Plain functions: reading the store may block, so these run in the thread pool.
    @router.get("", summary="All collections in the store")
    def index() -> list[CollectionManifest]:
        return store.list_manifests(CollectionManifest, MANIFEST_KIND)

    @router.get("/{manifest_id}", summary="A collection")
    def read(manifest_id: str) -> CollectionManifest:
        return store.get_manifest(CollectionManifest, MANIFEST_KIND, manifest_id)

    return router
