"""A training without the service: on a Kubernetes node, a Jenkins agent, or by hand. The same recipe, the same result.

`python -m jeeves_trainer.standalone --request request.json --store s3://bucket/prefix --work DIR --out training.json`

The request is a `TrainingRequest`; the store is the installation's own, so that its services find the outcome. Started
again with the same request and folder, it goes on from the last complete checkpoint.

Exit codes: 0 done · 1 failed, or told to stop (SIGTERM): start it again to go on · 2 wrong request.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jeeves_shared.artifacts import ArtifactStore, write_atomic
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.errors import JeevesError
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.logging import configure_logging

EXIT_FAILED = 1
EXIT_REQUEST = 2
_LINE_SECONDS = 10.0


class PrintingContext(JobContext):
    """A job's context that tells its progress on standard output, a line every ten seconds."""

    _printed_at = -_LINE_SECONDS

    def report(self, fraction: float, message: str = "", **metrics: float) -> None:
        """As of a job; also prints."""
        super().report(fraction, message, **metrics)
        now = time.monotonic()
        if now - self._printed_at >= _LINE_SECONDS:
            self._printed_at = now
            sys.stdout.write(f"{fraction:4.0%}  {message}\n")
            sys.stdout.flush()


def make_context(request: dict[str, Any], work: Path, store: str) -> PrintingContext:
    """The context of a request; the same one after a restart.

    Args:
        request: a `TrainingRequest` as JSON.
        work: folder for checkpoints and prepared base models; keep it to be able to go on.
        store: fsspec address of the artifact store.
    """
    name = content_hash(request)[:16]
    folder = work / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    database = f"sqlite:///{work / 'jobs.sqlite'}"
    os.environ.update(JEEVES_JOB_DATABASE=database, JEEVES_JOB_STORE=store)  # for the processes of `ranks`
    jobs = JobStore(open_database(database))
    job = jobs.submit("trainings", request, "always").job
    return PrintingContext(job.id, folder, ArtifactStore(store, work / "cache"), jobs)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--request", type=Path, required=True, help="a TrainingRequest as JSON")
    parser.add_argument("--store", required=True, help="address of the artifact store")
    parser.add_argument("--work", type=Path, required=True, help="folder that outlives a restart")
    parser.add_argument("--out", type=Path, required=True, help="file for the manifest")
    arguments = parser.parse_args()
    configure_logging("trainer", "info")
    try:
        request = TrainingRequest.model_validate_json(arguments.request.read_bytes()).model_dump(mode="json")
    except (OSError, ValidationError) as exc:
        sys.stderr.write(f"error: {arguments.request} is no training request: {exc}\n")
        return EXIT_REQUEST
    from jeeves_trainer.trainings import train  # noqa: PLC0415 - only with a request that can be run

    arguments.work.mkdir(parents=True, exist_ok=True)
    context = make_context(request, arguments.work.absolute(), arguments.store)
    signal.signal(signal.SIGTERM, lambda *_: context.cancel())
    try:
        manifest = train(context, request)
    except JeevesError as exc:
        sys.stderr.write(f"error: {json.dumps(exc.problem(context.job_id).model_dump(mode='json'))}\n")
        return EXIT_FAILED
    write_atomic(arguments.out, manifest.model_dump_json(indent=2).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
