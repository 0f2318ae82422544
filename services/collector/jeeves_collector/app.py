"""The HTTP process of the collector. Light: the work is done in the jobs' processes."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from jeeves_collector.api import manifests_router, reports_router, sources_router
from jeeves_collector.layout import CollectorLayout
from jeeves_collector.metrics import LatestCollectionMetrics
from jeeves_collector.settings import CollectorSettings
from jeeves_shared.contracts.requests import CollectionRequest
from jeeves_shared.jobs.service import JobServiceParts, create_job_service
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import run_service

NAME = "collector"
# A source may have changed since an equal request: only a job that still runs is returned for it.
COLLECTIONS = JobKind("collections", "jeeves_collector.jobs:collect", reuse="in-flight")


def create_app(settings: CollectorSettings) -> FastAPI:
    """Build the service.

    Args:
        settings: validated.
    """

    def routers(parts: JobServiceParts) -> Sequence[APIRouter]:
        parts.registry.register(LatestCollectionMetrics(parts.jobs, COLLECTIONS.name))
        layout = CollectorLayout((settings.data_dir / NAME).resolve())
        return (
            sources_router(),
            manifests_router(parts.store),
            reports_router(layout, parts.jobs, COLLECTIONS.name),
        )

    return create_job_service(NAME, settings, [(COLLECTIONS, CollectionRequest)], routers)


def main() -> None:
    """Run the service until it is told to stop."""
    run_service(NAME, CollectorSettings, create_app)
