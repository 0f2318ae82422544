"""One training in several processes: the curve of one process, and every process that the recipe asks for."""

import json
import os
import subprocess
import sys
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


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_train_as_one_does(
    tmp_path: Path, tiny_model: Path, make_dataset: Callable[..., DatasetManifest]
):
    store = ArtifactStore(str(tmp_path / "store"))
    dataset = make_dataset(store, 24, 4)
    # Micro batches of one sample: two processes with two each are one process with four.
    alone = TrainingRequest(recipe=tiny_recipe(tiny_model, gradient_accumulation=4), dataset=dataset)
    jobs = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    folder = tmp_path / "trainer" / "work" / "alone"
    folder.mkdir(parents=True)
    context = JobContext(jobs.submit("trainings", {}, "always").job.id, folder, store, jobs)
    straight = TrainingRun(context, alone, locate(alone.recipe.base_model), "training-alone").tune().tuned.curve

    together = TrainingRequest(recipe=tiny_recipe(tiny_model, processes=2), dataset=dataset)
    (tmp_path / "request.json").write_text(together.model_dump_json())
    command = [sys.executable, "-m", "jeeves_trainer.standalone", "--request", str(tmp_path / "request.json")]
    command += ["--store", str(tmp_path / "store"), "--work", str(tmp_path / "trainer")]
    environment = {**os.environ, "JEEVES_TRAINER_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out.json")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "starting 2 processes" in done.stderr
    manifest = TrainingManifest.model_validate_json((tmp_path / "out.json").read_bytes())
    shared = [json.loads(line) for line in store.read_bytes(manifest.curve).splitlines()]

    assert [point["step"] for point in shared] == [point["step"] for point in straight] == [0, 1, 2, 3, 4]
    for one, other in zip(straight, shared, strict=True):
        figures = one.keys() & {"loss", "eval_loss", "learning_rate", "grad_norm"}
        assert figures and figures <= other.keys()
        for figure in figures:
            assert other[figure] == pytest.approx(one[figure], rel=1e-5), (figure, one["step"])
