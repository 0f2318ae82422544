"""A service whose resources are jobs: collector, curator and trainer differ only in what they put in here."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.jobs import Job
from jeeves_shared.contracts.manifests import ArtifactRef
from jeeves_shared.jobs.api import job_router
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.supervisor import JobKind, JobSupervisor
from jeeves_shared.service import create_service, make_data_dir
from jeeves_shared.settings import ServiceSettings

DISK_FREE_MIN_BYTES = 512 * 1024 * 1024
"""Below this a job service is not ready: its next artifact would likely not fit."""


@dataclass(frozen=True)
class JobServiceParts:
    """What a job service's own routers may use."""

    jobs: JobStore
    store: ArtifactStore
    registry: CollectorRegistry


def create_job_service(
    name: str,
    settings: ServiceSettings,
    kinds: Sequence[tuple[JobKind, type[Contract]]],
    routers: Callable[[JobServiceParts], Sequence[APIRouter]] = lambda _: (),
) -> FastAPI:
    """Build a service from its kinds of jobs.

    Args:
        name: of the service.
        settings: validated.
        kinds: each with the type of its request body.
        routers: builds further routes from the parts.
    """
    registry = CollectorRegistry()
    make_data_dir(settings.data_dir)
    engine = open_database(settings.database(name))
    jobs = JobStore(engine)
    cache_dir = (settings.data_dir / name / "artifacts").resolve()
    store = ArtifactStore(settings.store(), cache_dir)
    supervisor = JobSupervisor(
        name,
        tuple(kind for kind, _ in kinds),
        jobs,
        database_url=settings.database(name),
        store_url=settings.store(),
        cache_dir=cache_dir,
        work_dir=(settings.data_dir / name / "work").resolve(),
        concurrent=settings.jobs_concurrent,
        log_level=settings.log_level,
        registry=registry,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await supervisor.start()
        yield
        await supervisor.stop()
        engine.dispose()

    def result_is_stored(job: Job) -> bool:
        return all(store.contains(ref) for ref in _refs_in(job.result))

    async def runner_ready() -> str | None:
        return None if supervisor.alive() else "the loop that starts jobs has ended; see the log"

    async def disk_ready() -> str | None:
        return _disk_problem(settings.data_dir)

    return create_service(
        name,
        [
            *(job_router(kind, request_type, jobs, result_is_stored) for kind, request_type in kinds),
            *routers(JobServiceParts(jobs, store, registry)),
        ],
        lifespan=lifespan,
        readiness={"jobs": runner_ready, "disk": disk_ready},
        registry=registry,
        token=settings.token.get_secret_value() if settings.token else None,
    )


def _disk_problem(folder: Path) -> str | None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as exc:
        return f"the data folder cannot be read: {exc.strerror}"
    return None if free >= DISK_FREE_MIN_BYTES else f"only {free >> 20} MiB free in the data folder"


def _refs_in(value: Any) -> Iterator[ArtifactRef]:
    """The artifacts that a manifest names, from its JSON: this module does not know the types of results."""
    if isinstance(value, dict):
        if value.keys() == ArtifactRef.model_fields.keys():
            yield ArtifactRef.model_validate(value)
        else:
            for item in value.values():
                yield from _refs_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs_in(item)
