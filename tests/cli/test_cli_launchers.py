"""`jeeves train --launcher`: what is written out is what Kubernetes and Jenkins accept, with the very same request."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from jeeves_cli.exits import CommandError
from jeeves_cli.launchers import Launcher, launch_file
from jeeves_cli.main import app
from jeeves_shared.contracts.manifests import ArtifactRef, DatasetManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.jenkinsfile import JenkinsfileLinter
from jeeves_shared.jenkinsfile.groovy_ast import groovy_available

ROOT = Path(__file__).resolve().parents[2]
STORE = "s3://models/jeeves"
RECIPE = ROOT / "training-jobs" / "train" / "qwen3-4b-qlora-24gb.yaml"


@pytest.fixture
def dataset() -> DatasetManifest:
    rows = ArtifactRef(sha256="a" * 64, size_bytes=1, name="it's \\ here.jsonl")
    return DatasetManifest(
        id="dataset-0",
        collections=("collection-0",),
        index_id="index-0",
        recipe_sha256="0" * 64,
        prompt_sha256="0" * 64,
        train=rows,
        evaluation=rows,
        card=rows,
        train_samples=10,
        evaluation_samples=2,
        sample_question="What's `$HOME` in a 'node'?",
        pairs_kept=10,
        drops={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture
def request_body(dataset: DatasetManifest) -> TrainingRequest:
    return TrainingRequest(
        recipe=TrainRecipe.model_validate(yaml.safe_load(RECIPE.read_text("utf-8"))), dataset=dataset
    )


def test_kubernetes_accepts_it(request_body: TrainingRequest) -> None:
    objects = list(yaml.safe_load_all(launch_file(Launcher.kubernetes, request_body, STORE, "registry/trainer:1")))
    assert [item["kind"] for item in objects] == ["ConfigMap", "PersistentVolumeClaim", "Job"]
    for item in objects:
        kubernetes_validate.validate(item, "1.37", strict=True)
    assert TrainingRequest.model_validate_json(objects[0]["data"]["request.json"]) == request_body
    pod = objects[2]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["command"][:3] == ["python", "-m", "jeeves_trainer.standalone"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    broken: dict[str, Any] = {**objects[2], "spec": {**objects[2]["spec"], "backofLimit": 6}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.37", strict=True)


@pytest.mark.skipif(not groovy_available(), reason="groovy is not installed: apt install groovy")
def test_jenkins_accepts_it(request_body: TrainingRequest) -> None:
    text = launch_file(Launcher.jenkins, request_body, STORE, "")
    written = re.search(r"text: '((?:[^'\\]|\\.)*)'", text)
    assert written is not None
    given = re.sub(r"\\(.)", r"\1", written[1])
    assert TrainingRequest.model_validate_json(given) == request_body
    with JenkinsfileLinter() as linter:
        verdict = linter.check(text)
    assert verdict.valid, verdict.findings
    assert "label 'gpu'" in text


def test_a_folder_of_this_machine_is_no_store_for_another(request_body: TrainingRequest) -> None:
    with pytest.raises(CommandError, match="s3://"):
        launch_file(Launcher.kubernetes, request_body, "var/store", "image")


def test_the_command_writes_the_file(dataset: DatasetManifest, tmp_path: Path) -> None:
    manifest, out = tmp_path / "dataset.json", tmp_path / "job.yaml"
    manifest.write_text(dataset.model_dump_json())
    words = ["train", "--recipe", str(RECIPE), "--dataset", str(manifest), "--launcher", "kubernetes"]
    done = CliRunner().invoke(app, [*words, "--store", STORE, "--out", str(out)])
    assert done.exit_code == 0, done.output
    job = list(yaml.safe_load_all(out.read_text("utf-8")))[2]
    assert json.dumps(job).count(STORE) == 1
