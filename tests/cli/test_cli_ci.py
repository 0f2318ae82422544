"""`jeeves ci` and SIGTERM as processes: real manifests, real HTTP; the services behind are small stand-ins."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

JEEVES = Path(sys.executable).with_name("jeeves")
AT = "2026-01-01T00:00:00Z"
SHA = "a" * 64


def _file(name: str, size: int) -> dict[str, Any]:
    return {"sha256": SHA, "size_bytes": size, "name": name}


def _dataset(pairs: int, name: str = "data-new") -> dict[str, Any]:
    return {
        "id": name, "collections": ["c"], "index_id": "i", "recipe_sha256": SHA, "prompt_sha256": SHA,
        "train": _file("train.jsonl", 1), "evaluation": _file("evaluation.jsonl", 1), "card": _file("card.md", 1),
        "train_samples": pairs * 2, "evaluation_samples": 20, "pairs_kept": pairs, "drops": {"duplicate": 3},
        "created_at": AT,
    }  # fmt: skip


def _model(kind: str, size: int, version: int, dataset: str = "data-old") -> dict[str, Any]:
    return {
        "id": f"model-{version}", "name": "jeeves-test", "version": version, "base_model": "tiny",
        "base_licence": "MIT",
        "dataset_id": dataset, "training_id": "t", "recipe_sha256": SHA, "architecture": "llama",
        "template_sha256": SHA, "prompt_sha256": SHA, "created_at": AT,
        "files": [{"quantization": kind, "artifact": _file(f"{kind}.gguf", size)}],
    }  # fmt: skip


def _report(kind: str, size: int, version: int, passed: bool) -> dict[str, Any]:
    estimate = {"value": 1.5, "low": 1.4, "high": 1.6}
    return {
        "id": f"report-{kind}", "model_id": f"model-{version}", "quantization": kind,
        "file": _file(f"{kind}.gguf", size),
        "engine": "llama.cpp", "dataset_id": "data-new", "evaluation_sha256": SHA, "passed": passed, "samples": [],
        "created_at": AT,
        "metrics": [
            {"name": "answer_loss", "unit": "nats/token", "higher_is_better": False, "samples": 20, "base": estimate,
             "candidate": estimate, "difference": estimate},
        ],
        "gate": [{"name": "loss", "passed": passed, "reason": "2.11 <= 2.66" if passed else "2.9 > 2.66 & worse"}],
    }  # fmt: skip


class Services:
    """All four services at one address, as far as `jeeves ci` asks them."""

    def __init__(self) -> None:
        self.champion = _model("Q8_0", 9, 1)
        self.served = {"id": "model-1", "version": 1}
        self.requests: list[str] = []
        self.not_ready = False
        self.degraded_later = 0
        self.shifted = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _give(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                outer.requests.append(f"{self.command} {self.path}")
                status, content = outer.answer(self.command, self.path, body)
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = _give  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(  # noqa: PLR0911
        self, method: str, path: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        job = {"id": "job-1", "kind": "trainings", "state": "running", "attempt": 1, "progress": {}, "created_at": AT}
        match method, path.partition("?")[0]:
            case "GET", "/healthz":
                return 200, {"status": "ok"}
            case "GET", "/readyz":
                return (503, {"missing": {"engine": "starting"}}) if self.not_ready else (200, {"status": "ready"})
            case "GET", "/metrics":
                degraded = self.degraded_later if self.shifted else 0
                return 200, (
                    "# TYPE jeeves_gateway_engine_up gauge\njeeves_gateway_engine_up 1.0\n"
                    "# TYPE jeeves_gateway_answers_total counter\n"
                    f'jeeves_gateway_answers_total{{rung="full",model="a"}} {100.0 + 30 * self.shifted}\n'
                    f'jeeves_gateway_answers_total{{rung="extractive",model="a"}} {degraded}.0\n'
                )
            case "GET", "/v1/models":
                return 200, [{"manifest": self.champion, "aliases": ["champion"]}]
            case "GET", "/v1/datasets":
                return 200, [
                    {**job, "kind": "datasets", "state": "succeeded", "result": _dataset(100, "data-old")},
                ]
            case "GET", "/v1/admin/status":
                return 200, {"model": self.served}
            case "PUT", "/v1/admin/models/champion":
                self.shifted, self.served = True, {"id": body["model"]["id"], "version": body["model"]["version"]}
                return 200, {}
            case "POST", "/v1/admin/rollback":
                self.served = {"id": "model-1", "version": 1}
                return 200, {}
            case "POST", "/v1/trainings":
                return 202, job
            case "GET", "/v1/trainings/job-1":
                return 200, job
            case "DELETE", "/v1/trainings/job-1":
                return 202, {**job, "state": "cancelled"}
        return 404, {}


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    yield services
    services.server.shutdown()
    services.server.server_close()


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    return folder


def _write(folder: Path, **contents: dict[str, Any]) -> None:
    for name, content in contents.items():
        (folder / f"{name.replace('__', '-')}.json").write_text(json.dumps(content), encoding="utf-8")


def _environment(services: Services) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
    names = ("COLLECTOR", "CURATOR", "TRAINER", "GATEWAY")
    return {**kept, **{f"JEEVES_{name}_URL": services.url for name in names}}


def _ci(services: Services, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [JEEVES, "ci", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=_environment(services), check=False)


def test_preflight_names_all_that_is_missing(services: Services, manifests: Path) -> None:
    out = manifests / "preflight.json"
    assert _ci(services, "preflight", "--out", out).returncode == 0
    done = _ci(services, "preflight", "--out", out, "--free-gib", 10**9, "--json")
    assert done.returncode == 1
    assert "GiB are needed" in json.loads(done.stdout)["reason"]
    services.not_ready = True
    done = _ci(services, "preflight", "--out", out)
    assert done.returncode == 4
    assert "the trainer is not ready" in done.stdout


@pytest.mark.parametrize(("pairs", "code", "word"), [(105, 0, "go on"), (60, 3, "review")])
def test_review_compares_with_the_champions_data(
    pairs: int, code: int, word: str, services: Services, manifests: Path
) -> None:
    _write(manifests, dataset=_dataset(pairs))
    out = manifests / "review.json"
    done = _ci(services, "review", "--dataset", manifests / "dataset.json", "--out", out)
    assert done.returncode == code, done.stderr
    assert (manifests / "review.txt").read_text(encoding="utf-8").strip() == word
    assert json.loads(out.read_text(encoding="utf-8"))["changes"]["pairs kept"] == pytest.approx(pairs / 100 - 1)


def test_the_smallest_file_that_passed_is_chosen_and_shown(services: Services, manifests: Path) -> None:
    _write(
        manifests,
        dataset=_dataset(100),
        model__Q8_0=_model("Q8_0", 138, 2), report__Q8_0=_report("Q8_0", 138, 2, True),
        model__Q6_K=_model("Q6_K", 110, 3), report__Q6_K=_report("Q6_K", 110, 3, True),
        model__Q4_K_M=_model("Q4_K_M", 90, 4), report__Q4_K_M=_report("Q4_K_M", 90, 4, False),
    )  # fmt: skip
    assert _ci(services, "choose", "--manifests", manifests).returncode == 0
    assert (manifests / "title.txt").read_text(encoding="utf-8") == "v3 Q6_K\n"
    assert json.loads((manifests / "chosen-model.json").read_text(encoding="utf-8"))["id"] == "model-3"
    reports = manifests.parent / "reports"
    assert _ci(services, "reports", "--manifests", manifests, "--out", reports).returncode == 0
    assert {path.name for path in reports.iterdir()} == {
        "gate-Q4_K_M.xml", "gate-Q6_K.xml", "gate-Q8_0.xml", "dataset-card.html", "model-card.html", "quality.csv",
    }  # fmt: skip
    assert 'failures="1"' in (reports / "gate-Q4_K_M.xml").read_text(encoding="utf-8")
    assert "2.9 &gt; 2.66 &amp; worse" in (reports / "gate-Q4_K_M.xml").read_text(encoding="utf-8")
    for kind in ("Q8_0", "Q6_K"):
        (manifests / f"report-{kind}.json").unlink()
    done = _ci(services, "choose", "--manifests", manifests)
    assert done.returncode == 3
    assert "Q4_K_M: 2.9 > 2.66 & worse" in done.stdout


def test_a_canary_that_is_no_worse_goes_on_serving_until_undone(services: Services, manifests: Path) -> None:
    _write(manifests, chosen__model=_model("Q8_0", 9, 2), chosen__report=_report("Q8_0", 9, 2, True))
    assert _ci(services, "canary", "--manifests", manifests, "--minutes", "0").returncode == 0
    assert services.served["id"] == "model-2"
    assert _ci(services, "undo-canary").returncode == 0
    assert services.served["id"] == "model-1"
    before = len([one for one in services.requests if "rollback" in one])
    assert _ci(services, "undo-canary").returncode == 0
    assert len([one for one in services.requests if "rollback" in one]) == before, "nothing to undo any more"


def test_a_canary_that_is_worse_is_rolled_back(services: Services, manifests: Path) -> None:
    services.degraded_later = 9
    _write(manifests, chosen__model=_model("Q8_0", 9, 2), chosen__report=_report("Q8_0", 9, 2, True))
    done = _ci(services, "canary", "--manifests", manifests, "--minutes", "1")
    assert done.returncode == 3
    assert "9 of 39 answers were degraded" in done.stdout
    assert services.served["id"] == "model-1"


def test_the_champion_needs_no_canary(services: Services, manifests: Path) -> None:
    _write(manifests, chosen__model=_model("Q8_0", 9, 1), chosen__report=_report("Q8_0", 9, 1, True))
    assert _ci(services, "canary", "--manifests", manifests).returncode == 0
    assert not services.shifted


def test_sigterm_cancels_the_job_behind_the_command(services: Services, manifests: Path) -> None:
    _write(manifests, dataset=_dataset(100))
    recipe = Path(__file__).parents[2] / "training-jobs" / "train" / "smollm2-135m-cpu.yaml"
    command = [JEEVES, "train", "--dataset", manifests / "dataset.json", "--recipe", recipe, "--json"]
    with subprocess.Popen(command, env=_environment(services), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not any("GET /v1/trainings/job-1" in one for one in services.requests):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert "DELETE /v1/trainings/job-1" in services.requests
