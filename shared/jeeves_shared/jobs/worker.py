"""Inside a job's process.

Started by the supervisor as `python -m jeeves_shared.jobs.worker <spec as JSON>`. It loads the job's function by name,
calls it with a `JobContext` and the request, and writes the final state itself. It dies with its service
(`PR_SET_PDEATHSIG`, set by the supervisor); a restarted service starts the job again, which resumes from its work
folder. A lock on that folder keeps two processes from ever working on one job.
"""

import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.jobs import JobProgress
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.errors import Conflict, JeevesError, JobCancelled
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.logging import configure_logging, job_id

JobFunction = Callable[["JobContext", dict[str, Any]], Contract]
"""A job: takes its context and the request body, returns the manifest."""

EXIT_FAILED = 1
_LOCK_WAIT_SECONDS = 20.0
_REPORT_INTERVAL_SECONDS = 0.2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerSpec:
    """What a job's process is told on its command line. Holds no secret: addresses with passwords go by environment."""

    service: str
    job_id: str
    function: str
    work_dir: str
    log_level: str


class JobContext:
    """What a job's function may use.

    Attributes:
        job_id: of this job.
        work_dir: folder of this job; the same after a restart, so checkpoints go here.
        store: the artifact store.
        attempt: 1 for the first process, more after a crash.
    """

    def __init__(self, job_id: str, work_dir: Path, store: ArtifactStore, jobs: JobStore, attempt: int = 1) -> None:
        self.job_id = job_id
        self.work_dir = work_dir
        self.store = store
        self.attempt = attempt
        self._jobs = jobs
        self._reported_at = 0.0
        self._cancelled = False

    def report(self, fraction: float, message: str = "", **metrics: float) -> None:
        """Tell how far the job is; at most five times a second is written, the end always.

        Args:
            fraction: in [0, 1].
            message: one line for a person.
            metrics: figures such as `step`, `loss`, `tokens_per_second`.

        Raises:
            JobCancelled: the job was asked to stop.
        """
        self.check_cancelled()
        now = time.monotonic()
        if fraction < 1.0 and now - self._reported_at < _REPORT_INTERVAL_SECONDS:
            return
        self._reported_at = now
        bounded = min(max(fraction, 0.0), 1.0)
        self._jobs.report(self.job_id, JobProgress(fraction=bounded, message=message, metrics=metrics))

    def log(self, message: str) -> None:
        """A line for those who follow the job."""
        logger.info(message)
        self._jobs.log(self.job_id, "info", message)

    def check_cancelled(self) -> None:
        """Stop here if someone asked for it.

        Raises:
            JobCancelled: the job was asked to stop.
        """
        if self._cancelled:
            raise JobCancelled("The job was cancelled on request.")

    def cancel(self) -> None:
        """Note the request; the next `report` or `check_cancelled` raises."""
        self._cancelled = True


def _load(function: str) -> JobFunction:
    module, _, name = function.partition(":")
    loaded: JobFunction = getattr(importlib.import_module(module), name)
    return loaded


def _lock(work_dir: Path) -> int:
    descriptor = os.open(work_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Conflict("Another process still works on this job: end it, then start the job again.") from None
            time.sleep(0.1)


def run_job(spec: WorkerSpec, database_url: str, store_url: str) -> int:
    """Run one job to its final state.

    Returns:
        0 when it succeeded or was cancelled, `EXIT_FAILED` otherwise.
    """
    job_id.set(spec.job_id)
    jobs = JobStore(open_database(database_url))
    work_dir = Path(spec.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    try:
        _lock(work_dir)
        job = jobs.get(spec.job_id)
        context = JobContext(spec.job_id, work_dir, ArtifactStore(store_url), jobs, job.attempt)
        signal.signal(signal.SIGTERM, lambda *_: context.cancel())
        manifest = _load(spec.function)(context, jobs.request(spec.job_id))
        context.check_cancelled()
        context.report(1.0, "done")
        jobs.finish(spec.job_id, "succeeded", result=manifest.model_dump(mode="json"))
        return 0
    except JobCancelled as exc:
        # Without a request, it is the service that stops: the job stays in the queue for the next start.
        if jobs.cancel_requested(spec.job_id):
            jobs.finish(spec.job_id, "cancelled", error=exc.problem(spec.job_id))
        return 0
    except JeevesError as exc:
        logger.error("job failed: %s", exc.detail)
        jobs.finish(spec.job_id, "failed", error=exc.problem(spec.job_id))
        return EXIT_FAILED
    except Exception as exc:
        # The boundary of the job: whatever it was, the client gets a typed error and the log has the traceback.
        logger.exception("job failed unexpectedly")
        problem = Problem(
            type="urn:jeeves:problem:job-failed",
            title="Job failed",
            status=500,
            detail=f"{type(exc).__name__}: {exc}. The log of the service has the whole trace.",
            instance=spec.job_id,
        )
        jobs.finish(spec.job_id, "failed", error=problem)
        return EXIT_FAILED


def main() -> None:
    """Entry point of the job's process."""
    spec = WorkerSpec(**json.loads(sys.argv[1]))
    configure_logging(f"{spec.service}-job", spec.log_level)
    sys.exit(run_job(spec, os.environ["JEEVES_JOB_DATABASE"], os.environ["JEEVES_JOB_STORE"]))


def command(spec: WorkerSpec) -> list[str]:
    """Command line that runs a job."""
    return [sys.executable, "-m", "jeeves_shared.jobs.worker", json.dumps(asdict(spec))]


if __name__ == "__main__":
    main()
