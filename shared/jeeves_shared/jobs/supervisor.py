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

from jeeves_shared.contracts.problems import Problem
from jeeves_shared.jobs.store import JobStore, Reuse
from jeeves_shared.jobs.worker import WorkerSpec, command
from jeeves_shared.process import die_with_parent

ATTEMPTS_MAX = 5
"""Processes that are started for one job before it is failed: a crash or two may be bad luck, five are not."""

_POLL_SECONDS = 0.25
_STOP_GRACE_SECONDS = 10.0

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
        work_dir: Path,
        concurrent: int,
        log_level: str,
        registry: CollectorRegistry,
    ) -> None:
        self._service = service
        self._kinds: Mapping[str, JobKind] = {kind.name: kind for kind in kinds}
        self._jobs = jobs
        self._environment = {"JEEVES_JOB_DATABASE": database_url, "JEEVES_JOB_STORE": store_url}
        self._work_dir = work_dir
        self._concurrent = concurrent
        self._log_level = log_level
        self._processes: dict[str, Process] = {}
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

    async def start(self) -> None:
        """Take back what an earlier process of this service left behind, then run jobs as they come."""
        for job in self._jobs.running():
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
            if len(self._processes) < self._concurrent and (job := self._jobs.claim()) is not None:
                await self._launch(job.id, job.kind, job.attempt)
                continue
            for job_id, process in list(self._processes.items()):
                if self._jobs.cancel_requested(job_id) and process.returncode is None:
                    self._keep(asyncio.create_task(self._end(process)))
            await asyncio.sleep(_POLL_SECONDS)

    async def _launch(self, job_id: str, kind: str, attempt: int) -> None:
        if attempt > ATTEMPTS_MAX:
            self._fail(job_id, kind, f"Its process died {ATTEMPTS_MAX} times; the log of the service says how.")
            return
        work_dir = self._work_dir / job_id
        work_dir.mkdir(parents=True, exist_ok=True)
        spec = WorkerSpec(
            service=self._service,
            job_id=job_id,
            function=self._kinds[kind].function,
            work_dir=str(work_dir),
            log_level=self._log_level,
        )
        # Created from the event loop's thread, which lives as long as the service: the kernel ties the child to it.
        process = await asyncio.create_subprocess_exec(
            *command(spec), env={**os.environ, **self._environment}, preexec_fn=die_with_parent
        )
        self._processes[job_id] = process
        self._running.labels(kind).inc()
        logger.info("job started", extra={"job": job_id, "kind": kind, "attempt": attempt, "pid": process.pid})
        self._keep(asyncio.create_task(self._watch(job_id, kind, process)))

    async def _watch(self, job_id: str, kind: str, process: Process) -> None:
        code = await process.wait()
        self._processes.pop(job_id, None)
        self._running.labels(kind).dec()
        job = self._jobs.get(job_id)
        if job.state == "running":
            if self._jobs.cancel_requested(job_id):
                self._jobs.finish(job_id, "cancelled")
            else:
                reason = "the service stops" if self._stopping else f"its process ended with {_exit_text(code)}"
                self._jobs.requeue(job_id, reason)
                logger.warning("job goes back into the queue: %s", reason, extra={"job": job_id, "kind": kind})
                return
        state = self._jobs.get(job_id).state
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

    def _fail(self, job_id: str, kind: str, detail: str) -> None:
        problem = Problem(
            type="urn:jeeves:problem:job-crashed", title="Job crashed", status=500, detail=detail, instance=job_id
        )
        self._jobs.finish(job_id, "failed", error=problem)
        self._finished.labels(kind, "failed").inc()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
