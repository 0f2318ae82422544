"""In the service: starts the queued jobs, each as a process of its own, watches, cancels and restarts them."""

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy.exc import DBAPIError

from jeeves_shared.contracts.jobs import FINAL_STATES, Job
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.jobs.store import JobStore, Reuse
from jeeves_shared.jobs.worker import WorkerSpec, command
from jeeves_shared.process import die_with_parent

CRASHES_MAX = 5
"""Crashes of one job before it is failed: one or two may be bad luck, five are not.

The end of a service that was told to stop is no crash; one that was killed may have been killed by its job's appetite.
"""

_POLL_SECONDS = 0.25
_STOP_GRACE_SECONDS = 10.0
_DATABASE_PAUSE_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobKind:
    """A kind of job that a service offers.

    Attributes:
        name: resource name, such as `trainings`.
        function: `module:function` of a `JobFunction`; imported in the job's process only.
        reuse: when an equal request returns the existing job.
    """

    name: str
    function: str
    reuse: Reuse


class JobSupervisor:
    """Runs the jobs of one service.

    Args:
        service: name of the service.
        kinds: the kinds of jobs that it offers.
        jobs: the tables.
        database_url, store_url: given to the job's process by environment.
        cache_dir: where the job's process keeps artifacts of a remote store.
        work_dir: folder of the jobs' work folders.
        concurrent: processes at the same time.
        log_level: of the job's process.
        registry: for the counters of jobs.
    """

    def __init__(
        self,
        service: str,
        kinds: tuple[JobKind, ...],
        jobs: JobStore,
        *,
        database_url: str,
        store_url: str,
        cache_dir: Path,
        work_dir: Path,
        concurrent: int,
        log_level: str,
        registry: CollectorRegistry,
    ) -> None:
        self._service = service
        self._kinds: Mapping[str, JobKind] = {kind.name: kind for kind in kinds}
        self._jobs = jobs
        self._environment = {"JEEVES_JOB_DATABASE": database_url, "JEEVES_JOB_STORE": store_url}
        self._cache_dir = cache_dir
        self._work_dir = work_dir
        self._concurrent = concurrent
        self._log_level = log_level
        self._processes: dict[str, Process] = {}
        self._ending: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._finished = Counter(
            f"jeeves_{service}_jobs", "Jobs that ended, by kind and state.", ("kind", "state"), registry=registry
        )
        self._running = Gauge(
            f"jeeves_{service}_jobs_running", "Jobs running now, by kind.", ("kind",), registry=registry
        )
        for kind in self._kinds:
            self._running.labels(kind).set(0)
            # From 0 on, so that `increase()` sees the first one of each too.
            for state in FINAL_STATES:
                self._finished.labels(kind, state)

    async def start(self) -> None:
        """Take back what an earlier process of this service left behind, then run jobs as they come."""
        for job in self._jobs.running(self._kinds):
            self._jobs.requeue(job.id, "the service was restarted")
        self._task = asyncio.create_task(self._loop(), name=f"{self._service}-jobs")

    async def stop(self) -> None:
        """Stop all processes; their jobs go back into the queue for the next start."""
        self._stopping = True
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await asyncio.gather(*(self._end(process) for process in self._processes.values()))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def alive(self) -> bool:
        """True while the loop that starts jobs runs."""
        return not self._task.done()

    async def _loop(self) -> None:
        while True:
            try:
                started = await self._start_next()
                if not started:
                    self._take_back_lost()
                    self._end_cancelled()
            except DBAPIError:
                # Locked, full or away for a while: the jobs wait, the service lives.
                logger.exception("the database of the jobs does not answer")
                await asyncio.sleep(_DATABASE_PAUSE_SECONDS)
                continue
            if not started:
                await asyncio.sleep(_POLL_SECONDS)

    async def _start_next(self) -> bool:
        """Start the oldest queued job, if there is one and room for it; True if one was taken."""
        if len(self._processes) >= self._concurrent or (job := self._jobs.claim(self._kinds)) is None:
            return False
        if self._jobs.crashes(job.id) >= CRASHES_MAX:
            self._fail(job, f"Its process died {CRASHES_MAX} times; the log of the service says how.")
            return True
        try:
            await self._launch(job)
        except OSError as exc:
            self._fail(job, f"Its process could not be started: {exc}. Free disk space or memory, then start it again.")
        return True

    def _take_back_lost(self) -> None:
        """Requeue what is marked as running without a process: its end could not be written down at the time."""
        for job in self._jobs.running(self._kinds):
            if job.id not in self._processes:
                self._jobs.requeue(job.id, "its process is gone")

    def _end_cancelled(self) -> None:
        for job_id, process in list(self._processes.items()):
            if job_id not in self._ending and self._jobs.cancel_requested(job_id):
                self._ending.add(job_id)
                self._keep(asyncio.create_task(self._end(process)))

    async def _launch(self, job: Job) -> None:
        work_dir = self._work_dir / job.id
        work_dir.mkdir(parents=True, exist_ok=True)
        spec = WorkerSpec(
            service=self._service,
            job_id=job.id,
            function=self._kinds[job.kind].function,
            work_dir=str(work_dir),
            log_level=self._log_level,
            cache_dir=str(self._cache_dir),
            service_pid=os.getpid(),
        )
        # Created from the event loop's thread, which lives as long as the service: the kernel ties the child to it.
        process = await asyncio.create_subprocess_exec(
            *command(spec), env={**os.environ, **self._environment}, preexec_fn=die_with_parent
        )
        self._processes[job.id] = process
        self._running.labels(job.kind).inc()
        logger.info("job started", extra={"job": job.id, "kind": job.kind, "attempt": job.attempt, "pid": process.pid})
        self._keep(asyncio.create_task(self._watch(job.id, job.kind, process)))

    async def _watch(self, job_id: str, kind: str, process: Process) -> None:
        code = await process.wait()
        self._processes.pop(job_id, None)
        self._ending.discard(job_id)
        self._running.labels(kind).dec()
        try:
            reason = "the service stops" if self._stopping else f"its process ended with {_exit_text(code)}"
            # Changes nothing if the process wrote its final state.
            self._jobs.requeue(job_id, reason, crashed=not self._stopping)
            state = self._jobs.get(job_id).state
        except DBAPIError:
            logger.exception("the end of a job could not be written", extra={"job": job_id, "kind": kind})
            return
        if state == "queued":
            logger.warning("job goes back into the queue: %s", reason, extra={"job": job_id, "kind": kind})
            return
        self._finished.labels(kind, state).inc()
        logger.info("job ended", extra={"job": job_id, "kind": kind, "state": state})

    async def _end(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_GRACE_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    def _fail(self, job: Job, detail: str) -> None:
        problem = Problem(
            type="urn:jeeves:problem:job-crashed", title="Job crashed", status=500, detail=detail, instance=job.id
        )
        self._jobs.finish(job.id, "failed", error=problem)
        self._finished.labels(job.kind, "failed").inc()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
