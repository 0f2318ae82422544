"""A real service with the tiny job, run as `python probe_service.py` with the environment of any service."""

from fastapi import FastAPI
from probe_jobs import ProbeRequest

from jeeves_shared.jobs.service import create_job_service
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import run_service
from jeeves_shared.settings import ServiceSettings

KINDS = [
    (JobKind("probes", "probe_jobs:run", reuse="always"), ProbeRequest),
    (JobKind("rehearsals", "probe_jobs:run", reuse="in-flight"), ProbeRequest),
]


def create_app(settings: ServiceSettings) -> FastAPI:
    return create_job_service("probe", settings, KINDS)


if __name__ == "__main__":
    run_service("probe", ServiceSettings, create_app)
