"""Routes besides the job resource: stored manifests, and the kinds of sources."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from jeeves_collector.layout import CollectorLayout
from jeeves_collector.publishing import MANIFEST_KIND
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.collections import CollectionReport
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.contracts.sources import SOURCE_TYPES
from jeeves_shared.errors import NotFound
from jeeves_shared.jobs.store import JobStore


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
            for source in SOURCE_TYPES
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


def reports_router(layout: CollectorLayout, jobs: JobStore, kind: str) -> APIRouter:
    """`GET /v1/collections/{job_id}/report`: how a collection came about.

    Args:
        layout: of the collector's files.
        jobs: the tables.
        kind: of the jobs.
    """
    router = APIRouter(prefix=f"/v1/{kind}", tags=[kind])

    @router.get("/{job_id}/report", summary="What was left out and left open, and what changed since the last time")
    def read(job_id: str) -> CollectionReport:
        job = jobs.get(job_id, kind)
        path = layout.report(job.id)
        if not path.is_file():
            raise NotFound(f"Collection job {job_id} has no report: it is {job.state}.")
        return CollectionReport.model_validate_json(path.read_bytes())

    return router
