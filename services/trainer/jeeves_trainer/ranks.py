"""One training in several processes: a job starts `accelerate launch`, which starts this module once per device.

The job's environment tells them where the database and the store are (`JEEVES_JOB_DATABASE`, `JEEVES_JOB_STORE`).

Every process plans the same run and takes its share of each step's micro batches. The first one (rank 0) prepares,
reports, checkpoints, merges and writes the manifest; the others only compute.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from jeeves_shared.artifacts import ArtifactStore, write_atomic
from jeeves_shared.contracts.manifests import TrainingManifest
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.errors import JeevesError
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.logging import configure_logging
from jeeves_shared.process import die_with_parent
from jeeves_trainer.checkpoints import resume_point
from jeeves_trainer.errors import MethodUnavailable, RanksFailed
from jeeves_trainer.layout import checkpoints_folder, process_count

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 30.0
_SPEC = "ranks.json"
_PROBLEM = "problem.json"


def accelerate_config(recipe: TrainRecipe) -> dict[str, Any]:
    """Settings for `accelerate launch`, as `accelerate config` would write them.

    Args:
        recipe: with its number of processes, and whether the model is divided among them.
    """
    config: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        # Of a CPU too: for MULTI_CPU, accelerate starts one process and leaves the others to mpirun, without a word.
        "distributed_type": "MULTI_GPU",
        "downcast_bf16": "no",
        "machine_rank": 0,
        "main_process_port": 0,  # a free one
        "main_training_function": "main",
        "mixed_precision": "no",  # autocast is part of the loss
        "num_machines": 1,
        "num_processes": recipe.processes,
        "rdzv_backend": "static",
        "same_network": True,
        "use_cpu": False,  # true would start one process; the trainer itself takes the CPU where there is no GPU
    }
    if recipe.sharding == "fsdp":
        config["distributed_type"] = "FSDP"
        config["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_reshard_after_forward": True,
            "fsdp_cpu_ram_efficient_loading": False,
            "fsdp_offload_params": False,
            "fsdp_state_dict_type": "FULL_STATE_DICT",
            "fsdp_activation_checkpointing": False,  # the recipe's own gradient_checkpointing
        }
    return config


def missing_devices(recipe: TrainRecipe, gpus: int) -> str:
    """What a recipe's processes lack on this machine; empty if they can run.

    Args:
        recipe: with its number of processes.
        gpus: of this machine; 0: the processes share its CPU.
    """
    if gpus == 0 and recipe.sharding == "fsdp":
        return f"sharding: fsdp needs {recipe.processes} GPUs, there is none: accelerate divides nothing on a CPU"
    if 0 < gpus < recipe.processes:
        return f"processes: {recipe.processes} needs as many GPUs, there is {gpus}"
    return ""


def launch(context: JobContext, body: TrainingRequest, identity: str, *, gpus: int) -> TrainingManifest:
    """Run a training in its processes and wait for it.

    Args:
        context: of the job.
        body: checked.
        identity: of the manifest to come.
        gpus: of this machine.

    Raises:
        MethodUnavailable: there are too few GPUs.
        RanksFailed: with what the first process said.
        JobCancelled: the job was asked to stop.
    """
    if missing := missing_devices(body.recipe, gpus):
        raise MethodUnavailable(f"{missing}. Run it where there are, or change the recipe.")
    folder = context.work_dir
    resume_point(checkpoints_folder(folder))  # removes what is incomplete, which the processes would do all at once
    config, spec = folder / "accelerate.yaml", folder / _SPEC
    (folder / _PROBLEM).unlink(missing_ok=True)
    write_atomic(config, yaml.safe_dump(accelerate_config(body.recipe)).encode())
    write_atomic(spec, json.dumps({"job_id": context.job_id, "request": body.model_dump(mode="json")}).encode())
    context.log(f"starting {body.recipe.processes} processes by accelerate launch")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    with (folder / "ranks.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-m", "jeeves_trainer.ranks", str(spec)],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - makes one system call
        )
    try:
        while process.poll() is None:
            context.check_cancelled()
            time.sleep(_POLL_SECONDS)
    finally:
        _end(process)
    if process.returncode != 0:
        raise RanksFailed(_what_went_wrong(folder))
    return context.store.get_manifest(TrainingManifest, "training", identity)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the launcher and its processes; they checkpoint nothing on the way, as after a kill."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _what_went_wrong(folder: Path) -> str:
    problem = folder / _PROBLEM
    if problem.is_file():
        return Problem.model_validate_json(problem.read_bytes()).detail
    tail = (folder / "ranks.log").read_text(encoding="utf-8", errors="replace").strip()[-600:]
    return f"A process of the training ended: {tail}"


def check_all_started(recipe: TrainRecipe, started: int) -> None:
    """Check that the launcher made as many processes as the recipe shares its steps among.

    Fewer would each train on smaller steps than the recipe says, to another curve, without an error.

    Raises:
        RanksFailed: it did not.
    """
    if started != recipe.processes:
        raise RanksFailed(f"accelerate launch started {started} of {recipe.processes} processes.")


class FollowerContext(JobContext):
    """Of all processes but the first: says nothing, one of them is enough."""

    def report(self, fraction: float, message: str = "", **metrics: float) -> None:
        """Only notices a request to stop."""
        self.check_cancelled()

    def log(self, message: str) -> None:
        """Nothing."""


def main() -> int:
    """Entry point of one process, in the environment that `accelerate launch` made."""
    die_with_parent()  # a torchrun that is killed leaves its processes behind, to train beside the next attempt
    path = Path(sys.argv[1])
    spec = json.loads(path.read_bytes())
    first = int(os.environ.get("RANK", "0")) == 0
    kind = JobContext if first else FollowerContext
    context = kind(
        spec["job_id"],
        path.parent,
        ArtifactStore(os.environ["JEEVES_JOB_STORE"]),
        JobStore(open_database(os.environ["JEEVES_JOB_DATABASE"])),
    )
    configure_logging("trainer-rank", "info")
    signal.signal(signal.SIGTERM, lambda *_: context.cancel())
    from jeeves_trainer.trainings import run_share  # noqa: PLC0415 - it imports this module

    request = TrainingRequest.model_validate(spec["request"])
    try:
        check_all_started(request.recipe, process_count())
        run_share(context, request, first=first)
    except JeevesError as exc:
        if first:
            write_atomic(path.parent / _PROBLEM, exc.problem(context.job_id).model_dump_json().encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
