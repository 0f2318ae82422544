"""Runs curation, index and data set, and ends itself with SIGKILL in each named function: see `test_curator_kills.py`.

`python killed_job.py FOLDER FUNCTION…`: FOLDER holds `request.json`; each FUNCTION is the qualified name of one that
the job calls. Every attempt goes on in the work folder of the last; the manifests of the last one, which nobody kills,
are printed together with how each attempt ended.
"""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from jeeves_curator import datasets, indexes
from jeeves_curator.documents import curation
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.requests import DatasetRequest, IndexRequest
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext


def die_in(function: str) -> None:
    """SIGKILL of this process as soon as the function is called."""

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_qualname == function:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(watch)


def run(folder: Path) -> dict[str, Any]:
    asked = json.loads((folder / "request.json").read_text())
    store = ArtifactStore(str(folder / "store"))
    jobs = JobStore(open_database(f"sqlite:///{folder / 'state.sqlite'}"))
    context = JobContext(
        jobs.submit("datasets", {"pid": os.getpid()}, "in-flight").job.id, folder / "work", store, jobs
    )
    curated = curation.run(context, asked)
    index = indexes.run(context, IndexRequest.model_validate(asked).model_dump(mode="json"))
    request = DatasetRequest.model_validate({**asked, "index": index}).model_dump(mode="json")
    dataset = datasets.run(context, request)
    return {made.kind: made.model_dump(mode="json", exclude={"created_at"}) for made in (curated, index, dataset)}


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "work").mkdir(exist_ok=True)
    ends: dict[str, int] = {}
    for function in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            die_in(function)
            run(folder)
            os._exit(0)
        ends[function] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(json.dumps({"ends": ends, "manifests": run(folder)}) + "\n")


if __name__ == "__main__":
    main()
