"""The curator service: the jobs `curations`, `indexes` and `datasets`, and a search for people."""

from fastapi import FastAPI

from jeeves_curator.reviews import reviews_router
from jeeves_curator.search import search_router
from jeeves_shared.contracts.requests import CurationRequest, DatasetRequest, IndexRequest
from jeeves_shared.jobs.service import create_job_service
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import run_service
from jeeves_shared.settings import ServiceSettings

NAME = "curator"


def create_app(settings: ServiceSettings) -> FastAPI:
    """The application.

    Args:
        settings: validated.
    """
    return create_job_service(
        NAME,
        settings,
        [
            (JobKind("curations", "jeeves_curator.documents.curation:run", "always"), CurationRequest),
            (JobKind("indexes", "jeeves_curator.indexes:run", "always"), IndexRequest),
            (JobKind("datasets", "jeeves_curator.datasets:run", "always"), DatasetRequest),
        ],
        lambda parts: (search_router(parts.store), reviews_router(parts.store)),
    )


def main() -> None:
    """Run the service until it is told to stop."""
    run_service(NAME, ServiceSettings, create_app)
