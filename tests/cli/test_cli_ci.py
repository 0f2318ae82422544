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
        self.trial: dict[str, Any] | None = None
        self.trials: list[dict[str, Any]] = []
        self.trial_becomes: dict[str, Any] = {}
        self.told: list[str] = []
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

    def answer(  # noqa: PLR0911, PLR0912
        self, method: str, path: str, body: dict[str, Any]
    ) -> tuple[int, Any]:
        job = {"id": "job-1", "kind": "trainings", "state": "running", "attempt": 1, "progress": {}, "created_at": AT}
        match method, path.partition("?")[0]:
            case "GET", "/healthz":
                return 200, {"status": "ok"}
            case "GET", "/readyz":
                return (503, {"missing": {"engine": "starting"}}) if self.not_ready else (200, {"status": "ready"})
            case "GET", "/v1/models":
                return 200, [{"manifest": self.champion, "aliases": ["champion"]}]
            case "GET", shown if shown.startswith(("/v1/reports/", "/v1/cards/")) or shown.endswith("/card"):
                return 200, f"GET {path}"
            case "GET", "/v1/models/audit":
                promoted = {"at": AT, "who": "ci", "action": "promote", "model_id": "model-1"}
                return 200, [{**promoted, "reason": "jenkins-jeeves-7 https://ci.example/job/jeeves/7/"}]
            case "GET", "/v1/datasets":
                return 200, [
                    {**job, "kind": "datasets", "state": "succeeded", "result": _dataset(100, "data-old")},
                ]
            case "GET", "/v1/admin/status":
                return 200, {"model": self.served, "canary": self.trial["model"] if self.trial else None}
            case "PUT", "/v1/admin/models/canary":
                self.trials.append(body)
                manifest = body["serve"]["model"]
                model = {key: manifest[key] for key in ("id", "name", "version")}
                self.trial = {
                    "model": {**model, "quantization": "Q8_0", "sha256": SHA, "state": "ready"},
                    "share": body["share"], "shadow": body["shadow"], "ended": "", "answers": 4, "bad": 1,
                    "champion_answers": 30, "champion_bad": 3, "evidence": 0.3, "worse_at": 2.9, "good_at": -2.9,
                    "verdict": "running",
                }  # fmt: skip
                return 200, self.trial
            case "GET", "/v1/admin/models/canary" if self.trial:
                self.trial |= self.trial_becomes
                return 200, self.trial
            case "DELETE", "/v1/admin/models/canary" if self.trial:
                self.trial = None
                return 204, ""
            case "POST", "/v1/admin/rollback":
                self.served = {"id": "model-1", "version": 1}
                return 200, {}
            case "POST", "/hooks/very-secret":
                self.told.append(body["text"])
                return 200, "ok"
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


def _jeeves(services: Services, *arguments: object) -> subprocess.CompletedProcess[str]:
    command, env = [JEEVES, *map(str, arguments)], {**_environment(services), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def _ci(services: Services, *arguments: object) -> subprocess.CompletedProcess[str]:
    return _jeeves(services, "ci", *arguments)


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
    shown = {path.name: path.read_text(encoding="utf-8") for path in reports.iterdir()}
    assert shown["gate-Q4_K_M.xml"] == "GET /v1/reports/report-Q4_K_M?form=junit"
    assert shown["dataset-card.html"] == "GET /v1/cards/data-new"
    assert shown["model-card.html"] == "GET /v1/models/model-3/card", "of the chosen one"
    assert shown["quality.csv"].splitlines()[0] == "answer_loss Q4_K_M,answer_loss Q6_K,answer_loss Q8_0"
    for kind in ("Q8_0", "Q6_K"):
        (manifests / f"report-{kind}.json").unlink()
    done = _ci(services, "choose", "--manifests", manifests)
    assert done.returncode == 3
    assert "Q4_K_M: 2.9 > 2.66 & worse" in done.stdout


@pytest.fixture
def candidate(manifests: Path) -> Path:
    """A candidate that passed its gate, beside the champion, which is version 1."""
    _write(manifests, chosen__model=_model("Q8_0", 9, 2), chosen__report=_report("Q8_0", 9, 2, True))
    return manifests


def _trial_result(manifests: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((manifests / "canary.json").read_text(encoding="utf-8"))
    return result


def test_a_canary_answers_its_share_and_leaves_the_champion_alone_again(services: Services, candidate: Path) -> None:
    done = _ci(services, "canary", "--manifests", candidate, "--share", "0.25", "--minutes", "0")
    assert done.returncode == 0, done.stderr
    assert [(trial["share"], trial["shadow"]) for trial in services.trials] == [(0.25, False)]
    assert services.trial is None and services.served["id"] == "model-1"
    assert _trial_result(candidate)["state"] == "passed"
    assert "1 of 4 answers bad, the champion's 3 of 30" in done.stdout


def test_a_canary_that_is_known_to_be_as_good_ends_early(services: Services, candidate: Path) -> None:
    services.trial_becomes = {"verdict": "as-good"}
    done = _ci(services, "canary", "--manifests", candidate, "--minutes", "600", "--shadow")
    assert done.returncode == 0, done.stderr
    assert services.trials[0]["shadow"] is True
    assert "as good" in _trial_result(candidate)["reason"]


@pytest.mark.parametrize(
    ("becomes", "reason"),
    [
        ({"verdict": "worse", "ended": "canary-worse", "bad": 12, "answers": 15}, "(canary-worse): 12 of 15"),
        ({"model": {"id": "model-2", "name": "m", "version": 2, "quantization": "Q8_0", "sha256": SHA,
                    "state": "starting"}}, "its engine is down"),
    ],
)  # fmt: skip
def test_a_canary_that_is_worse_is_refused(
    becomes: dict[str, Any], reason: str, services: Services, candidate: Path
) -> None:
    services.trial_becomes = becomes
    done = _ci(services, "canary", "--manifests", candidate, "--minutes", "600")
    assert done.returncode == 3
    assert reason in done.stdout
    assert _trial_result(candidate)["state"] == "rolled-back"
    assert services.served["id"] == "model-1"


def test_a_canary_that_a_build_left_behind_is_ended(services: Services, candidate: Path) -> None:
    command = [JEEVES, "ci", "canary", "--manifests", candidate, "--minutes", "600"]
    with subprocess.Popen(command, env=_environment(services)) as process:
        deadline = time.monotonic() + 120
        while services.trial is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    assert services.trial is not None
    # Started again, the build goes on with the trial that runs.
    assert _ci(services, "canary", "--manifests", candidate, "--minutes", "0").returncode == 0
    assert len(services.trials) == 1 and services.trial is None
    assert "serves the champion" in _ci(services, "undo-canary").stdout
    services.answer("PUT", "/v1/admin/models/canary", services.trials[0])
    assert "the trial was ended" in _ci(services, "undo-canary").stdout
    services.served = {"id": "model-2", "version": 2}
    assert "rolled back" in _ci(services, "undo-canary").stdout
    assert services.served["id"] == "model-1"


def test_the_champion_needs_no_canary(services: Services, manifests: Path) -> None:
    _write(manifests, chosen__model=_model("Q8_0", 9, 1), chosen__report=_report("Q8_0", 9, 1, True))
    assert _ci(services, "canary", "--manifests", manifests).returncode == 0
    assert not services.trials


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


@pytest.mark.parametrize("only", ["", "v1", "model-1", "champion", "jenkins-jeeves-7", "data-old"])
def test_a_model_version_is_found_by_its_build_and_the_build_by_it(services: Services, only: str) -> None:
    arguments = ["models", *([only] if only else [])]
    done = _jeeves(services, *arguments)
    assert done.returncode == 0, done.stderr
    assert "jeeves-test v1" in done.stdout and "2026-01-01 00:00 jenkins-jeeves-7" in done.stdout
    row = json.loads(_jeeves(services, *arguments, "--json").stdout)[0]
    assert (row["id"], row["dataset_id"], row["files"]) == ("model-1", "data-old", ["Q8_0"])


def test_a_build_that_promoted_nothing_is_said_to_be_none(services: Services) -> None:
    done = _jeeves(services, "models", "jenkins-jeeves-8")
    assert done.returncode == 1
    assert "jenkins-jeeves-8" in done.stderr


@pytest.mark.parametrize(
    ("address", "reason"),
    [("{url}/hooks/very-secret", ""), ("{url}/hooks/very-secret-too", "HTTP 404"),
     ("http://127.0.0.1:9/hooks/very-secret", "ConnectError"), ("no address, very-secret", "UnsupportedProtocol")],
)  # fmt: skip
def test_a_chat_room_is_told_and_its_address_kept(services: Services, address: str, reason: str) -> None:
    command = [JEEVES, "ci", "announce", "--text", "#7 v3 Q8_0: Promoted"]
    env = {**_environment(services), "ANNOUNCE_URL": address.format(url=services.url), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert services.told == ([] if reason else ["#7 v3 Q8_0: Promoted"])
    assert done.returncode == bool(reason), done.stderr
    assert reason in done.stderr and "very-secret" not in done.stderr + done.stdout
