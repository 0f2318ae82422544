"""MLflow is told of runs, versions and aliases, catches up after it was away, and stops nothing when it is."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.errors import SettingsError
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.settings import load_settings
from jeeves_trainer.app import NAME, create_app
from jeeves_trainer.base_models import locate
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.settings import TrainerSettings
from jeeves_trainer.tracking import open_tracking
from jeeves_trainer.trainings import train, training_id

RECIPE = Path(__file__).parents[3] / "training-jobs" / "train" / "smollm2-135m-cpu.yaml"
START_SECONDS_MAX = 600.0
FAILURES = "jeeves_trainer_mlflow_failures_total"
CURVE = b'{"step": 0, "eval_loss": 2.0}\n{"step": 1, "loss": 1.5}\n{"step": 2, "loss": 1.2, "eval_loss": 1.0}\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Listening(JobContext):
    """Keeps what it is told."""

    said: list[str]

    def log(self, message: str) -> None:
        super().log(message)
        self.said.append(message)


@dataclass(frozen=True)
class Trainer:
    """A trainer's settings and registry, and how to ask it."""

    settings: TrainerSettings
    registry: ModelRegistry
    make_model: Callable[..., ModelManifest]
    make_report: Callable[..., EvaluationReport]

    def register(self, version: int, training_id: str = "training-0") -> None:
        model = self.make_model(f"model-{version}", version).model_copy(update={"training_id": training_id})
        self.registry.register(model, "trainer", "")

    def promote(self, version: int) -> str:
        """Make a version the champion; what `/metrics` says then."""
        report = self.make_report(ArtifactStore(self.settings.store()), f"model-{version}", passed=True)
        return self._post(f"model-{version}/promote", {"evaluation_id": report.id})

    def roll_back(self) -> str:
        return self._post("rollback", {"reason": "slow"})

    def _post(self, path: str, body: dict[str, str]) -> str:
        client = TestClient(create_app(self.settings))
        answer = client.post(f"/v1/models/{path}", json=body)
        assert answer.status_code == 200 and answer.json()["aliases"] == ["champion"], answer.text
        return client.get("/metrics").text


@pytest.fixture
def trainer(tmp_path: Path, make_model, make_report) -> Trainer:
    settings = TrainerSettings(data_dir=tmp_path)
    registry = ModelRegistry(open_database(settings.database(NAME)))
    return Trainer(settings, registry, make_model, make_report)


@pytest.fixture
def ended(
    trainer: Trainer,
    make_dataset: Callable[..., DatasetManifest],
    make_training: Callable[..., TrainingManifest],
) -> tuple[Listening, TrainingRequest, TrainingManifest]:
    """A training that ran before, so that its job only has to tell of it."""
    settings = trainer.settings
    store = ArtifactStore(settings.store())
    dataset = make_dataset(store, 4, 2)
    recipe = TrainRecipe.model_validate(yaml.safe_load(RECIPE.read_text("utf-8")))
    body = TrainingRequest(recipe=recipe, dataset=dataset)
    curve = store.put_bytes(CURVE, "curve.jsonl")
    manifest = make_training(
        curve,
        id=training_id(body, locate(recipe.base_model)),
        dataset_id=dataset.id,
        base_model=recipe.base_model.name,
        steps=2,
        best_step=2,
        train_loss=1.2,
        eval_loss_before=2.0,
    )
    store.put_manifest(manifest)
    jobs = JobStore(open_database(settings.database(NAME)))
    context = Listening(jobs.submit("trainings", {}, "always").job.id, settings.data_dir, store, jobs)
    context.said = []
    return context, body, manifest


def test_a_server_that_is_away_stops_nothing_and_is_said(trainer: Trainer, ended, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    context, body, manifest = ended
    assert train(context, body.model_dump(mode="json")) == manifest
    assert any("MLflow was not told" in line and "did not answer" in line for line in context.said)
    trainer.register(1)
    assert f"{FAILURES} 1.0" in trainer.promote(1)


def test_without_an_address_nobody_is_told(trainer: Trainer, ended, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    context, body, _ = ended
    assert open_tracking() is None
    train(context, body.model_dump(mode="json"))
    assert not any("MLflow" in line for line in context.said)
    trainer.register(1)
    assert f"{FAILURES} 0.0" in trainer.promote(1)


def test_an_address_that_is_none_is_refused_at_the_start(monkeypatch):
    monkeypatch.setenv("JEEVES_TRAINER_MLFLOW_URL", "sqlite:///mlflow.sqlite")
    with pytest.raises(SettingsError, match="JEEVES_TRAINER_MLFLOW_URL"):
        load_settings(TrainerSettings)


@pytest.fixture(scope="session")
def mlflow_command(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The real server: named by `JEEVES_TEST_MLFLOW`, or out of the package index, in an environment of its own."""
    given = os.environ.get("JEEVES_TEST_MLFLOW")
    if given:
        return given
    folder = tmp_path_factory.mktemp("mlflow")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin/pip"), "install", "-q", "mlflow>=3.10,<4"], check=True)
    return str(folder / "bin/mlflow")


@contextmanager
def mlflow_server(command: str, folder: Path, port: int) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    words = ["server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite'}", "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([command, *words], env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.long
def test_a_real_server_shows_what_the_registry_holds(trainer: Trainer, ended, monkeypatch, mlflow_command, tmp_path):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    context, body, manifest = ended

    def seen(path: str, **query: str) -> Any:
        found = httpx.get(f"{address}/api/2.0/mlflow/{path}", params=query, timeout=60)
        assert found.status_code == 200, found.text
        return found.json()

    def version(number: str) -> dict[str, Any]:
        return dict(seen("model-versions/get", name="jeeves-tiny", version=number)["model_version"])

    def aliases() -> dict[str, str]:
        model = seen("registered-models/get", name="jeeves-tiny")["registered_model"]
        return {
            alias["alias"]: next(
                tag["value"] for tag in version(alias["version"])["tags"] if tag["key"] == "jeeves.model_id"
            )
            for alias in model.get("aliases", ())
        }

    with mlflow_server(mlflow_command, tmp_path / "mlflow", port):
        for _ in range(2):
            train(context, body.model_dump(mode="json"))
        assert not any("MLflow" in line for line in context.said), context.said
        experiment = seen("experiments/get-by-name", experiment_name="jeeves")["experiment"]["experiment_id"]
        found = httpx.post(
            f"{address}/api/2.0/mlflow/runs/search", json={"experiment_ids": [experiment]}, timeout=60
        ).json()
        (run,) = found["runs"]
        assert run["info"]["status"] == "FINISHED" and run["info"]["run_name"] == manifest.id
        parameters = {entry["key"]: entry["value"] for entry in run["data"]["params"]}
        assert (parameters["learning_rate"], parameters["lora.rank"]) == ("0.001", "16")
        history = seen("metrics/get-history", run_id=run["info"]["run_id"], metric_key="eval_loss")["metrics"]
        assert [(point["step"], point["value"]) for point in history] == [(0, 2.0), (2, 1.0)]

        trainer.register(1, manifest.id)
        assert f"{FAILURES} 0.0" in trainer.promote(1)
        assert aliases() == {"champion": "model-1"}
        assert version("1")["run_id"] == run["info"]["run_id"]
        trainer.register(2)

    # The server is away: the promotion holds, and the next change makes up for what it missed.
    assert f"{FAILURES} 1.0" in trainer.promote(2)
    trainer.register(3)
    with mlflow_server(mlflow_command, tmp_path / "mlflow", port):
        assert aliases() == {"champion": "model-1"}
        assert f"{FAILURES} 0.0" in trainer.roll_back()
        assert aliases() == {"champion": "model-1", "previous": "model-2", "candidate": "model-3"}
