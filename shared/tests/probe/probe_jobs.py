"""A tiny real job, run in a process of its own like any other."""

import math
import os
import signal
import time
from typing import Any, Literal

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.manifests import ArtifactRef
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.worker import JobContext


class ProbeRequest(Contract):
    name: str
    steps: int = 3
    seconds_a_step: float = 0.02
    ending: Literal["well", "crash", "typed", "unexpected", "not-finite"] = "well"


class ProbeResult(Contract):
    steps: int
    steps_of_this_process: int
    attempt: int
    artifact: ArtifactRef


def run(context: JobContext, request: dict[str, Any]) -> ProbeResult:
    probe = ProbeRequest.model_validate(request)
    journal = context.work_dir / "steps"
    (context.work_dir / "pid").write_text(str(os.getpid()))
    done = len(journal.read_text().splitlines()) if journal.exists() else 0
    before = done
    if probe.ending == "typed":
        raise RecipeError("Two mistakes.", ("first: wrong", "second: wrong"))
    if probe.ending == "unexpected":
        raise KeyError("nobody thought of this")
    if probe.ending == "not-finite":
        context.report(math.nan, "diverged", loss=math.inf, step=1)
    while done < probe.steps:
        time.sleep(probe.seconds_a_step)
        with journal.open("a") as file:
            file.write(f"{done}\n")
        done += 1
        context.report(done / probe.steps, f"step {done}", step=done)
        if probe.ending == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
    context.log(f"{probe.name} is finished")
    artifact = context.store.put_bytes(journal.read_bytes(), "steps.txt")
    return ProbeResult(steps=done, steps_of_this_process=done - before, attempt=context.attempt, artifact=artifact)
