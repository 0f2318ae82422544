"""The trainer as a process: train, quantize, evaluate, refuse, promote; killed in the middle; tampered files."""

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_shared.engine.binary import find_converter_folder, find_engine_binary
from jeeves_shared.engine.errors import EngineBinaryMissing
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.checkpoints import resume_point
from jeeves_trainer.gguf_files import write_metadata

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

JOB_SECONDS_MAX = 300.0
RECIPE: dict[str, Any] = {
    "name": "tiny",
    "model_name": "jeeves-tiny",
    "lora": {"rank": 4, "alpha": 8},
    "learning_rate": 1e-2,
    "epochs": 4,
    "max_steps": 32,
    "micro_batch_samples": 2,
    "gradient_accumulation": 2,
    "max_length_tokens": 1024,
    "prompt_gradient": False,
    "evaluations_per_run": 8,
    "evaluation_samples_max": 4,
}
EVALUATION: dict[str, Any] = {
    "name": "tiny",
    "loss_samples_max": 10,
    "generation_samples_max": 10,
    "refusal_samples_max": 2,
    "answer_tokens_max": 16,
    "bootstrap_resamples": 200,
    "slots": 2,
}


@pytest.fixture(scope="module", autouse=True)
def _engine() -> None:
    try:
        find_engine_binary()
        find_converter_folder()
    except EngineBinaryMissing as exc:
        pytest.skip(str(exc))


class Trainer:
    """A running service and how to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], client: httpx.Client, data_dir: Path) -> None:
        self.process = process
        self.client = client
        self.data_dir = data_dir
        self.store = ArtifactStore(str(data_dir / "store"))

    def submit(self, kind: str, body: dict[str, Any]) -> str:
        response = self.client.post(f"/v1/{kind}", json=body)
        assert response.status_code in (200, 202), response.text
        return str(response.json()["id"])

    def wait(self, kind: str, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + JOB_SECONDS_MAX
        while time.monotonic() < deadline:
            job: dict[str, Any] = self.client.get(f"/v1/{kind}/{job_id}").json()
            if job["state"] in ("succeeded", "failed", "cancelled"):
                return job
            time.sleep(0.3)
        raise AssertionError(f"{kind} did not end: {job}")

    def run(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        job = self.wait(kind, self.submit(kind, body))
        assert job["state"] == "succeeded", job["error"]
        return dict(job["result"])


@contextmanager
def trainer(data_dir: Path) -> Iterator[Trainer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "JEEVES_DATA_DIR": str(data_dir),
        "JEEVES_PORT": str(port),
        "JEEVES_TRAINER_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    data_dir.mkdir(exist_ok=True)
    with (data_dir / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jeeves_trainer"], env=environment, stdout=log, stderr=log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (data_dir / "service.log").read_text()
            try:
                if client.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield Trainer(process, client, data_dir)
    finally:
        client.close()
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def recipe(tiny_model: Path) -> dict[str, Any]:
    base = {"name": "Tiny-3M-Instruct", "location": str(tiny_model), "licence": "Apache-2.0"}
    return {**RECIPE, "base_model": base}


def training_body(recipe: dict[str, Any], dataset: DatasetManifest) -> dict[str, Any]:
    return {"recipe": recipe, "dataset": dataset.model_dump(mode="json")}


def curve(service: Trainer, manifest: TrainingManifest) -> list[dict[str, float]]:
    return [json.loads(line) for line in service.store.read_bytes(manifest.curve).splitlines()]


def worker_pid(job_id: str) -> int:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"jeeves_shared.jobs.worker" in command and job_id.encode() in command:
                return int(folder.name)
    raise AssertionError("the job has no process")


def test_the_loop(tmp_path: Path, recipe: dict[str, Any], make_dataset: Callable[..., DatasetManifest]):
    with trainer(tmp_path) as service:
        dataset = make_dataset(service.store, 40, 12)
        training = TrainingManifest.model_validate(service.run("trainings", training_body(recipe, dataset)))
        assert training.eval_loss < training.eval_loss_before - 0.5
        points = curve(service, training)
        assert [point["step"] for point in points] == list(range(33))
        held_out = {int(point["step"]): point["eval_loss"] for point in points if "eval_loss" in point}
        assert sorted(held_out) == [0, 4, 8, 12, 16, 20, 24, 28, 32]
        assert held_out[training.best_step] == training.eval_loss == min(held_out[step] for step in held_out if step)
        with tarfile.open(service.store.path(training.adapter)) as archive:
            assert sorted(archive.getnames()) == ["adapter_config.json", "adapter_model.safetensors"]
            config = archive.extractfile("adapter_config.json")
            assert config is not None and json.load(config)["base_model_name_or_path"] == "Tiny-3M-Instruct"
        merged = read_gguf(service.store.path(training.merged_gguf))
        assert merged.jeeves["jeeves.training_id"] == training.id
        assert merged.template_sha256 == training.template_sha256
        assert merged.template_sha256 == read_gguf(service.store.path(training.base_gguf)).template_sha256

        body = {"training": training.model_dump(mode="json"), "quantizations": ["Q8_0"]}
        model = ModelManifest.model_validate(service.run("quantizations", body))
        assert model.files[0].artifact.name == "Tiny-3M-Instruct-jeeves-v1-Q8_0.gguf"
        assert read_gguf(service.store.path(model.files[0].artifact)).jeeves["jeeves.model_id"] == model.id
        registered = service.client.get("/v1/models").json()
        assert [(entry["manifest"]["id"], entry["aliases"]) for entry in registered] == [(model.id, ["candidate"])]

        evaluation = {
            "recipe": EVALUATION,
            "model": model.model_dump(mode="json"),
            "quantization": "Q8_0",
            "dataset": dataset.model_dump(mode="json"),
        }
        report = EvaluationReport.model_validate(service.run("evaluations", evaluation))
        metrics = {metric.name: metric for metric in report.metrics}
        # What llama.cpp measures on the quantized file is what torch measured in training, on other samples of a kind.
        assert metrics["answer_loss"].base.value == pytest.approx(training.eval_loss_before, rel=0.1)
        assert metrics["answer_loss"].candidate.value == pytest.approx(training.eval_loss, rel=0.25)
        assert metrics["answer_loss"].difference.high < 0
        refused = {condition.name for condition in report.gate if not condition.passed}
        assert refused == {"answers_improve"}
        assert len(report.samples) == 10

        promotion = {"evaluation_id": report.id, "reason": "hope"}
        no = service.client.post(f"/v1/models/{model.id}/promote", json=promotion)
        assert no.status_code == 409 and "token F1" in no.json()["detail"]
        assert service.client.get("/v1/models").json() == registered
        junit = ElementTree.fromstring(  # noqa: S314 - our own
            service.client.get(f"/v1/reports/{report.id}", params={"form": "junit"}).content
        )
        assert [case.get("name") for case in junit if case.find("failure") is not None] == ["answers_improve"]
        page = service.client.get(f"/v1/reports/{report.id}", params={"form": "html"})
        assert "✗ answers_improve" in page.text and "default-src 'none'" in page.headers["content-security-policy"]

        lenient = {**EVALUATION, "gate": {"token_f1_improvement_min": -1.0}}
        passed = EvaluationReport.model_validate(service.run("evaluations", {**evaluation, "recipe": lenient}))
        assert passed.passed
        yes = service.client.post(f"/v1/models/{model.id}/promote", json={"evaluation_id": passed.id})
        assert yes.status_code == 200 and yes.json()["aliases"] == ["champion"]


def test_nothing_runs_twice(tmp_path: Path, recipe: dict[str, Any], make_dataset: Callable[..., DatasetManifest]):
    short = {**recipe, "max_steps": 2, "evaluations_per_run": 1}
    with trainer(tmp_path) as service:
        body = training_body(short, make_dataset(service.store, 10, 4))
        first = service.run("trainings", body)
        started = time.monotonic()
        assert service.run("trainings", body) == first
        assert time.monotonic() - started < 5
        (tmp_path / "trainer" / "state.sqlite").rename(tmp_path / "old.sqlite")
    with trainer(tmp_path) as service:
        # Another database, the same store: the manifest is found.
        assert service.run("trainings", body) == first


def learning(point: dict[str, float]) -> dict[str, float]:
    """A point of a curve without what the machine did meanwhile."""
    return {name: value for name, value in point.items() if name not in ("tokens_per_second", "memory_bytes", "mfu")}


def test_killed_in_the_middle_gives_the_curve_of_a_straight_run(
    tmp_path: Path, recipe: dict[str, Any], make_dataset: Callable[..., DatasetManifest]
):
    with trainer(tmp_path / "straight") as service:
        body = training_body(recipe, make_dataset(service.store, 40, 4))
        straight = TrainingManifest.model_validate(service.run("trainings", body))
        straight_curve = curve(service, straight)
    with trainer(tmp_path / "killed") as service:
        make_dataset(service.store, 40, 4)
        job_id = service.submit("trainings", body)
        checkpoints = tmp_path / "killed/trainer/work" / job_id / "checkpoints"
        deadline = time.monotonic() + JOB_SECONDS_MAX
        while not list(checkpoints.glob("checkpoint-*/complete.json")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(worker_pid(job_id), signal.SIGKILL)
        job = service.wait("trainings", job_id)
        assert job["state"] == "succeeded", job["error"]
        assert job["attempt"] == 2
        resumed = TrainingManifest.model_validate(job["result"])
        resumed_curve = curve(service, resumed)
    assert resumed.id == straight.id
    assert [point["step"] for point in resumed_curve] == [point["step"] for point in straight_curve]
    for one, other in zip(map(learning, straight_curve), map(learning, resumed_curve), strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert resumed.best_step == straight.best_step
    assert resume_point(checkpoints) is not None


def test_tampered_files_are_refused(
    tmp_path: Path, recipe: dict[str, Any], make_dataset: Callable[..., DatasetManifest]
):
    short = {**recipe, "max_steps": 2, "evaluations_per_run": 1}
    with trainer(tmp_path) as service:
        training = TrainingManifest.model_validate(
            service.run("trainings", training_body(short, make_dataset(service.store, 10, 4)))
        )
        source = service.store.path(training.merged_gguf)
        changed = tmp_path / "changed.gguf"
        write_metadata(source, changed, {"tokenizer.chat_template": "{{ messages[0].content }}"})
        other_template = training.model_copy(
            update={"id": "training-tampered", "merged_gguf": service.store.put_file(changed)}
        )
        body = {"training": other_template.model_dump(mode="json"), "quantizations": ["Q8_0"]}
        job = service.wait("quantizations", service.submit("quantizations", body))
        assert job["state"] == "failed" and job["error"]["type"] == "urn:jeeves:problem:template-mismatch"

        wrong_type = {"training": training.model_dump(mode="json"), "quantizations": ["Q8_0", "Q9"]}
        job = service.wait("quantizations", service.submit("quantizations", wrong_type))
        assert job["error"]["type"] == "urn:jeeves:problem:quantization-failed" and "Q9" in job["error"]["detail"]

        with source.open("r+b") as file:
            file.seek(-1000, os.SEEK_END)
            byte = file.read(1)
            file.seek(-1000, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        body = {"training": training.model_dump(mode="json"), "quantizations": ["Q8_0"]}
        job = service.wait("quantizations", service.submit("quantizations", body))
        assert job["error"]["type"] == "urn:jeeves:problem:artifact-corrupt"
        assert service.client.get("/v1/models").json() == []
