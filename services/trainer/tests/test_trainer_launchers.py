"""The same recipe in several processes, and outside of the service."""

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
from jeeves_trainer.ranks import accelerate_config
from jeeves_trainer.standalone import EXIT_FAILED, EXIT_REQUEST

JOBS = Path(__file__).parents[3] / "training-jobs" / "train"


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_what_it_is_told(path: Path, tmp_path: Path):
    recipe = TrainRecipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    file = tmp_path / "accelerate.yaml"
    file.write_text(yaml.safe_dump(accelerate_config(recipe, cuda=True)))
    config = load_config_from_file(str(file))
    assert isinstance(config, ClusterConfig)
    assert config.num_processes == recipe.processes
    if recipe.sharding == "fsdp":
        assert config.distributed_type.value == "FSDP" and config.fsdp_config["fsdp_version"] == 2


def recipe(base: Path, **change: Any) -> TrainRecipe:
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


def standalone(tmp_path: Path, name: str, body: TrainingRequest) -> subprocess.CompletedProcess[str]:
    request = tmp_path / f"{name}.json"
    request.write_text(body.model_dump_json())
    command = [sys.executable, "-m", "jeeves_trainer.standalone", "--request", str(request)]
    command += [
        "--store",
        str(tmp_path / "store"),
        "--work",
        str(tmp_path / name),
        "--out",
        str(tmp_path / f"{name}.out"),
    ]
    environment = {**os.environ, "JEEVES_TRAINER_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def curve(tmp_path: Path, name: str) -> list[dict[str, float]]:
    manifest = TrainingManifest.model_validate_json((tmp_path / f"{name}.out").read_bytes())
    lines = ArtifactStore(str(tmp_path / "store")).read_bytes(manifest.curve).splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.long
def test_two_processes_train_as_one_does(
    tmp_path: Path, tiny_model: Path, make_dataset: Callable[..., DatasetManifest]
):
    dataset = make_dataset(ArtifactStore(str(tmp_path / "store")), 24, 4)
    # Micro batches of one sample: two processes with two each are one process with four.
    one = TrainingRequest(recipe=recipe(tiny_model, gradient_accumulation=4), dataset=dataset)
    two = TrainingRequest(recipe=recipe(tiny_model, processes=2), dataset=dataset)
    for name, body in (("one", one), ("two", two)):
        done = standalone(tmp_path, name, body)
        assert done.returncode == 0, done.stderr[-3000:]
    assert "starting 2 processes" in done.stderr
    alone, together = curve(tmp_path, "one"), curve(tmp_path, "two")
    assert [point["step"] for point in together] == [point["step"] for point in alone] == [0, 1, 2, 3, 4]
    for ours, theirs in zip(alone, together, strict=True):
        for figure in ours.keys() & {"loss", "eval_loss", "learning_rate", "grad_norm"}:
            assert theirs[figure] == pytest.approx(ours[figure], rel=2e-3), (figure, ours["step"])


def test_what_cannot_run_says_so(tmp_path: Path, tiny_model: Path, make_dataset: Callable[..., DatasetManifest]):
    dataset = make_dataset(ArtifactStore(str(tmp_path / "store")), 4, 2)
    body = TrainingRequest(recipe=recipe(tiny_model / "nowhere"), dataset=dataset)
    done = standalone(tmp_path, "wrong", body)
    assert done.returncode == EXIT_FAILED and "base-model-unusable" in done.stderr
    (tmp_path / "broken.json").write_text("{}")
    command = [sys.executable, "-m", "jeeves_trainer.standalone", "--request", str(tmp_path / "broken.json")]
    command += ["--store", str(tmp_path), "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_REQUEST and "no training request" in done.stderr
