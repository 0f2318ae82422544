"""A training without the service, as a Kubernetes node or a Jenkins agent runs it: what cannot run says so."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_trainer.standalone import EXIT_FAILED, EXIT_REQUEST


def standalone(folder: Path, request: str) -> subprocess.CompletedProcess[str]:
    (folder / "request.json").write_text(request)
    command = [sys.executable, "-m", "jeeves_trainer.standalone", "--request", str(folder / "request.json")]
    command += ["--store", str(folder / "store"), "--work", str(folder / "work"), "--out", str(folder / "out.json")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_missing_base_model_is_named(tmp_path: Path, make_dataset: Callable[..., DatasetManifest]):
    recipe = TrainRecipe.model_validate(
        {
            "name": "tiny",
            "model_name": "jeeves-tiny",
            "base_model": {"name": "Tiny", "location": str(tmp_path / "nowhere"), "licence": "Apache-2.0"},
            "learning_rate": 1e-2,
            "epochs": 1,
            "micro_batch_samples": 1,
            "max_length_tokens": 128,
        }
    )
    body = TrainingRequest(recipe=recipe, dataset=make_dataset(ArtifactStore(str(tmp_path / "store")), 4, 2))
    done = standalone(tmp_path, body.model_dump_json())
    assert done.returncode == EXIT_FAILED and "base-model-unusable" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_a_wrong_request_is_named(tmp_path: Path):
    done = standalone(tmp_path, "{}")
    assert done.returncode == EXIT_REQUEST and "no training request" in done.stderr
