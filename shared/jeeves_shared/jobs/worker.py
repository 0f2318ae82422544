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
import math
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
from jeeves_shared.errors import JeevesError, JobCancelled
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.logging import configure_logging, job_id

JobFunction = Callable[["JobContext", dict[str, Any]], Contract]
"""A job: takes its context and the request body, returns the manifest."""

EXIT_FAILED = 1
EXIT_LOCKED = 75
LOCK_WAIT_SECONDS = 20.0
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
    cache_dir: str = ""
    service_pid: int = 0


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
            metrics: figures such as `step`, `loss`, `tokens_per_second`; those that are not finite are left out.

        Raises:
            JobCancelled: the job was asked to stop.
        """
        self.check_cancelled()
        if not math.isfinite(fraction):
            fraction = 0.0
        now = time.monotonic()
        if fraction < 1.0 and now - self._reported_at < _REPORT_INTERVAL_SECONDS:
            return
        self._reported_at = now
        bounded = min(max(fraction, 0.0), 1.0)
        # JSON has no NaN, and a diverged loss must not make the job unreadable.
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._jobs.report(self.job_id, JobProgress(fraction=bounded, message=message, metrics=finite))

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


def _lock(work_dir: Path, wait_seconds: float) -> bool:
    # The descriptor stays open, and the lock held, until the process ends.
    descriptor = os.open(work_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return False
            time.sleep(0.1)


def run_job(spec: WorkerSpec, database_url: str, store_url: str, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> int:
    """Run one job to its final state.

    Args:
        spec: which job.
        database_url: SQLAlchemy address.
        store_url: fsspec address.
        lock_wait_seconds: patience with an earlier process of this job that is still ending.

    Returns:
        0 when it succeeded or was cancelled, `EXIT_LOCKED` when another process works on it (which then writes its
        state), `EXIT_FAILED` otherwise.
    """
    job_id.set(spec.job_id)
    work_dir = Path(spec.work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    if not _lock(work_dir, lock_wait_seconds):
        logger.error("another process still works on this job")
        return EXIT_LOCKED
    engine = open_database(database_url)
    try:
        return _run_locked(spec, JobStore(engine), work_dir, store_url)
    finally:
        engine.dispose()


def _run_locked(spec: WorkerSpec, jobs: JobStore, work_dir: Path, store_url: str) -> int:
    try:
        job = jobs.get(spec.job_id)
        store = ArtifactStore(store_url, Path(spec.cache_dir) if spec.cache_dir else None)
        context = JobContext(spec.job_id, work_dir, store, jobs, job.attempt)
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
    if spec.service_pid and os.getppid() != spec.service_pid:
        # The service died between fork and PR_SET_PDEATHSIG: nobody watches this process.
        sys.exit(EXIT_FAILED)
    configure_logging(f"{spec.service}-job", spec.log_level)
    sys.exit(run_job(spec, os.environ["JEEVES_JOB_DATABASE"], os.environ["JEEVES_JOB_STORE"]))


def command(spec: WorkerSpec) -> list[str]:
    """Command line that runs a job."""
    return [sys.executable, "-m", "jeeves_shared.jobs.worker", json.dumps(asdict(spec))]


if __name__ == "__main__":
    main()
