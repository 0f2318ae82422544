"""One training in several processes: the curve of one process, and every process that the recipe asks for."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest, TrainingManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import locate
from jeeves_trainer.checkpoints import MARKER
from jeeves_trainer.errors import RanksFailed
from jeeves_trainer.plans import Device, make_plan
from jeeves_trainer.ranks import accelerate_config, check_all_started, missing_devices
from jeeves_trainer.training_run import TrainingRun

JOBS = Path(__file__).parents[3] / "training-jobs" / "train"
FSDP = JOBS / "qwen3-14b-lora-fsdp-2x80gb.yaml"
# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")


def load(path: Path) -> TrainRecipe:
    return TrainRecipe.model_validate(yaml.safe_load(path.read_text("utf-8")))


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_what_it_is_told(path: Path, tmp_path: Path):
    recipe = load(path)
    file = tmp_path / "accelerate.yaml"
    file.write_text(yaml.safe_dump(accelerate_config(recipe)))
    config = load_config_from_file(str(file))
    assert isinstance(config, ClusterConfig)
    assert config.num_processes == recipe.processes
    if recipe.sharding == "fsdp":
        assert config.distributed_type.value == "FSDP" and config.fsdp_config["fsdp_version"] == 2


def test_processes_without_a_device_are_refused():
    recipe = load(FSDP)
    assert missing_devices(recipe, 2) == missing_devices(recipe, 8) == ""
    assert "there is 1" in missing_devices(recipe, 1)
    assert "on a CPU" in missing_devices(recipe, 0)
    assert missing_devices(recipe.model_copy(update={"sharding": "none"}), 0) == ""
    check_all_started(recipe, 2)
    with pytest.raises(RanksFailed, match="1 of 2"):
        check_all_started(recipe, 1)


def test_the_plan_of_a_divided_model(tmp_path: Path, make_dataset: Callable[..., DatasetManifest]):
    body = TrainingRequest(recipe=load(FSDP), dataset=make_dataset(ArtifactStore(str(tmp_path)), 64, 4))

    def plan(gpus: int):
        return make_plan(body, Device("80 GB GPU", 79 * 1024**3, cuda=True, count=gpus))

    assert plan(2).ready
    assert (
        plan(2).parameters == 14_768_307_200 - 40 * 2 * 128
    )  # as published; norms of queries and keys are not counted
    assert plan(2).steps == 8  # 64 samples twice, in steps of two processes with two micro batches of four
    errors = [finding for finding in plan(1).findings if finding.severity == "error"]
    assert [finding.name for finding in errors] == ["processes"]


def tiny_recipe(base: Path, **change: Any) -> TrainRecipe:
    settings = {
        "name": "tiny",
        "model_name": "jeeves-tiny",
        "base_model": {"name": "Tiny-3M-Instruct", "location": str(base), "licence": "Apache-2.0"},
        "lora": {"rank": 4, "alpha": 8},
        "dtype": "float32",
        "learning_rate": 1e-2,
        "epochs": 2,
        "max_steps": 4,
        "micro_batch_samples": 1,
        "gradient_accumulation": 2,
        "max_length_tokens": 1024,
        "evaluations_per_run": 2,
        "evaluation_samples_max": 4,
    }
    return TrainRecipe.model_validate({**settings, **change})


class Standalone:
    """A training outside of the service, as a Kubernetes job or an agent runs it, with a store of its own."""

    def __init__(self, folder: Path, make_dataset: Callable[..., DatasetManifest], recipe: TrainRecipe) -> None:
        folder.mkdir()
        self._folder = folder
        self.store = ArtifactStore(str(folder / "store"))
        self.request = TrainingRequest(recipe=recipe, dataset=make_dataset(self.store, 24, 4))
        (folder / "request.json").write_text(self.request.model_dump_json())

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "jeeves_trainer.standalone", "--out", str(self._folder / "out.json")]
        for option in ("request.json", "store", "work"):
            command += [f"--{option.removesuffix('.json')}", str(self._folder / option)]
        environment = {**os.environ, "JEEVES_TRAINER_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def finish(self) -> None:
        with self.start() as process:
            said = process.communicate()[1]
        assert process.returncode == 0, said[-3000:]
        assert "starting 2 processes" in said

    def log(self) -> str:
        """What the processes of the last attempt said."""
        (file,) = self._folder.glob("work/work/*/ranks.log")
        return file.read_text("utf-8", errors="replace")

    def checkpoints(self) -> set[str]:
        """Names of those that are complete."""
        return {marker.parent.name for marker in self._folder.glob(f"work/work/*/checkpoints/*/{MARKER}")}

    def ranks(self) -> list[int]:
        """Ids of the processes that train, or start those that do."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has just ended
                if b"jeeves_trainer.ranks" in (line := path.read_bytes()) and str(self._folder).encode() in line:
                    found.append(int(path.parent.name))
        return found

    def curve(self) -> list[dict[str, float]]:
        manifest = TrainingManifest.model_validate_json((self._folder / "out.json").read_bytes())
        return [json.loads(line) for line in self.store.read_bytes(manifest.curve).splitlines()]


def assert_equal_curves(ours: list[dict[str, float]], theirs: list[dict[str, float]], steps: int) -> None:
    assert [point["step"] for point in ours] == [point["step"] for point in theirs] == list(range(steps + 1))
    for one, other in zip(ours, theirs, strict=True):
        figures = one.keys() & {"loss", "eval_loss", "learning_rate", "grad_norm"}
        assert figures and figures <= other.keys()
        for figure in figures:
            assert other[figure] == pytest.approx(one[figure], rel=1e-5), (figure, one["step"])


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_train_as_one_does(
    tmp_path: Path, tiny_model: Path, make_dataset: Callable[..., DatasetManifest]
):
    together = Standalone(tmp_path / "two", make_dataset, tiny_recipe(tiny_model, processes=2))
    # Micro batches of one sample: two processes with two each are one process with four.
    recipe = tiny_recipe(tiny_model, gradient_accumulation=4)
    jobs = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    folder = tmp_path / "trainer" / "work" / "alone"
    folder.mkdir(parents=True)
    context = JobContext(jobs.submit("trainings", {}, "always").job.id, folder, together.store, jobs)
    alone = together.request.model_copy(update={"recipe": recipe})
    straight = TrainingRun(context, alone, locate(recipe.base_model), "training-alone").tune().tuned.curve
    together.finish()
    assert_equal_curves(straight, together.curve(), steps=4)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_are_killed_and_go_on_as_if_they_had_not_been(
    tmp_path: Path, tiny_model: Path, make_dataset: Callable[..., DatasetManifest]
):
    recipe = tiny_recipe(tiny_model, processes=2, epochs=4, max_steps=16, evaluations_per_run=8)
    straight, killed = (Standalone(tmp_path / name, make_dataset, recipe) for name in ("straight", "killed"))
    straight.finish()

    with killed.start() as process:
        while not killed.checkpoints():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        assert len(killed.ranks()) >= 3, "the launcher and two processes"
        process.kill()
    deadline = time.monotonic() + 30
    while left := killed.ranks():
        assert time.monotonic() < deadline, f"processes {left} outlived the job, and would train beside the next one"
        time.sleep(0.1)
    assert "checkpoint-16" not in killed.checkpoints()

    killed.finish()
    assert "resuming from checkpoint-" in killed.log()
    assert_equal_curves(straight.curve(), killed.curve(), steps=16)
