"""A real service with the tiny job, run as `python probe_service.py` with the environment of any service."""

from probe_jobs import ProbeRequest

from jeeves_shared.jobs.service import create_job_service
from jeeves_shared.jobs.supervisor import JobKind
from jeeves_shared.service import serve
from jeeves_shared.settings import ServiceSettings, load_settings

if __name__ == "__main__":
    settings = load_settings(ServiceSettings)
    kinds = [
        (JobKind("probes", "probe_jobs:run", reuse="always"), ProbeRequest),
        (JobKind("rehearsals", "probe_jobs:run", reuse="in-flight"), ProbeRequest),
    ]
    serve(create_job_service("probe", settings, kinds), "probe", settings)
