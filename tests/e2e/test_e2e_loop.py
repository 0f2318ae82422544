"""The main job with real processes and the real small model: taught, killed, repeated, refused.

One shortened run of the whole loop (`recipes/`) on the starter pack, in which every service, the training job and the
engine are killed once; everything else looks at what it left.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bundle_process import JEEVES, ROOT, BundleProcess, environment, eventually, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RECIPES = Path(__file__).parent / "recipes"
SHORT = [
    "--train-recipe",
    str(RECIPES / "train-short.yaml"),
    "--evaluate-recipe",
    str(RECIPES / "evaluate-short.yaml"),
]
QUESTION = "How do I keep a secret out of the console log?"
RUN_SECONDS = 1500


@dataclass
class FinishedRun:
    code: int
    output: str
    data_dir: Path
    ports: list[int]


def _jobs(data_dir: Path, service: str) -> list[tuple[str, str, int]]:
    with sqlite3.connect(data_dir / service / "state.sqlite") as connection:
        return connection.execute("SELECT id, state, attempt FROM jobs ORDER BY created_at").fetchall()


def _jeeves(run: FinishedRun, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(JEEVES), *arguments],
        cwd=ROOT,
        env=environment(run.data_dir, run.ports),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedRun]:
    data_dir = tmp_path_factory.mktemp("bundle")
    ports = free_ports(4)
    bundle = BundleProcess(["run", "--once", *SHORT], data_dir, ports)
    try:
        bundle.wait_for(r"▸ collect", 180)
        bundle.kill("jeeves_collector")
        bundle.wait_for(r"▸ (index|curate)", 180)
        bundle.kill("jeeves_curator")
        bundle.wait_for(r"✓ curate", 240)
        bundle.wait_for(r"▸ train", 180)
        bundle.kill("llama-server")
        bundle.wait_for(r"▸ train .*step", 300)
        bundle.kill('"service": "trainer"')
        assert eventually(lambda: any(attempt == 2 for _, _, attempt in _jobs(data_dir, "trainer")), 60)
        bundle.kill("jeeves_trainer")
        bundle.kill("jeeves_gateway")
        code = bundle.wait(RUN_SECONDS)
        yield FinishedRun(code, bundle.output, data_dir, ports)
    finally:
        bundle.end()


def test_run_ends_well_although_everything_was_killed(first_run: FinishedRun) -> None:
    assert first_run.code == 0, first_run.output
    for name in ("collector", "curator", "trainer", "gateway"):
        assert f"{name} 1×" in first_run.output or f"{name} 2×" in first_run.output, first_run.output
    assert all(state == "succeeded" for _, state, _ in _jobs(first_run.data_dir, "trainer"))


def test_run_prints_what_it_did(first_run: FinishedRun) -> None:
    for expected in ("answer loss", "key facts", "gate: passed", "champion is", "Q8_0.gguf", "before", "after", "[1]"):
        assert expected in first_run.output, expected


def test_no_artifact_is_corrupt(first_run: FinishedRun) -> None:
    from jeeves_shared.artifacts import file_sha256  # noqa: PLC0415

    blobs = list((first_run.data_dir / "store" / "blobs").glob("*/*/*"))
    assert len(blobs) > 5
    for blob in blobs:
        assert not blob.name.startswith("."), f"a temporary file was left: {blob}"
        assert file_sha256(blob) == blob.parent.name


def test_second_run_does_nothing_again(first_run: FinishedRun) -> None:
    before = _jobs(first_run.data_dir, "trainer"), _jobs(first_run.data_dir, "curator")
    second = BundleProcess(["run", "--once", *SHORT], first_run.data_dir, first_run.ports)
    try:
        assert second.wait(300) == 0, second.output
    finally:
        second.end()
    assert (_jobs(first_run.data_dir, "trainer"), _jobs(first_run.data_dir, "curator")) == before
    assert "as before" in second.output


@pytest.fixture(scope="module")
def served(first_run: FinishedRun) -> Iterator[BundleProcess]:
    bundle = BundleProcess(["up"], first_run.data_dir, first_run.ports)
    try:
        bundle.wait_for("Ctrl-C stops everything", 180)
        yield bundle
    finally:
        bundle.end()


def test_champion_is_served_after_a_restart(served: BundleProcess, first_run: FinishedRun) -> None:
    done = _jeeves(first_run, "ask", QUESTION, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert set(answer) >= {"answer", "citations", "rung", "model", "response_id"}
    served_model = json.loads(_jeeves(first_run, "status", "--json").stdout)["gateway"]["status"]["model"]
    assert answer["model"] == served_model["id"]
    assert served_model["version"] == 1
    # A model of a shortened training may write what is overruled or replaced; what may not be is that it was not asked.
    assert answer["rung"] in ("full", "extractive")
    assert not set(answer["reasons"]) & {"unavailable", "overloaded", "engine-failed", "engine-stalled"}, answer
    assert any(citation["source_path"].startswith("starter-pack/credentials/") for citation in answer["citations"])
    assert set(answer["citations"][0]) >= {"source_path", "url", "title", "section"}


def test_batch_answers_line_by_line(served: BundleProcess, first_run: FinishedRun, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        "\n".join(
            json.dumps({"id": f"q{number}", "question": question})
            for number, question in enumerate(
                ["How do I run stages in parallel?", "Which wine goes with grilled salmon?"], start=1
            )
        )
    )
    done = _jeeves(first_run, "ask", "--batch", str(questions))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == ["q1", "q2"]
    assert answers[0]["citations"]
    assert not answers[1]["citations"]
    assert answers[1]["refused"]


def test_official_client_lists_models_and_streams(served: BundleProcess) -> None:
    from openai import OpenAI  # noqa: PLC0415

    with OpenAI(base_url=f"{served.gateway_url}/v1", api_key="not needed on loopback") as client:
        models = [model.id for model in client.models.list()]
        assert models
        text = ""
        finished = []
        for chunk in client.chat.completions.create(
            model=models[0], messages=[{"role": "user", "content": QUESTION}], stream=True
        ):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finished += [choice.finish_reason] if choice.finish_reason else []
    assert len(text) > 20
    assert finished == ["stop"]


def test_refused_candidate_leaves_the_champion(served: BundleProcess, first_run: FinishedRun) -> None:
    status_before = json.loads(_jeeves(first_run, "status", "--json").stdout)["gateway"]["status"]
    done = _jeeves(
        first_run,
        "pipeline",
        "--train-recipe",
        str(RECIPES / "train-worse.yaml"),
        "--evaluate-recipe",
        str(RECIPES / "evaluate-strict.yaml"),
        "--json",
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert not report["passed"]
    assert any(not condition["passed"] and condition["reason"] for condition in report["gate"])
    status_after = json.loads(_jeeves(first_run, "status", "--json").stdout)["gateway"]["status"]
    assert status_after["model"] == status_before["model"]


def test_port_in_use_is_one_clear_message(served: BundleProcess, first_run: FinishedRun, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(JEEVES), "up"],
        cwd=ROOT,
        env=environment(tmp_path / "other", first_run.ports),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_ctrl_c_leaves_no_process(served: BundleProcess) -> None:
    processes = served.interrupt()
    assert len(processes) >= 5
    assert served.wait(60) == 0
    assert eventually(
        lambda: not any(process.is_running() and process.status() != "zombie" for process in processes), 10
    )


@pytest.mark.parametrize("source", ["empty", "missing", "images"])
def test_unusable_source_is_one_clear_message(tmp_path: Path, source: str) -> None:
    folder = tmp_path / source
    if source != "missing":
        folder.mkdir()
    if source == "images":
        (folder / "picture.png").write_bytes(os.urandom(2000))
    bundle = BundleProcess(["run", "--once", "--source", str(folder), *SHORT], tmp_path / "data", free_ports(4))
    try:
        assert bundle.wait(120) in (2, 5)
    finally:
        bundle.end()
    assert bundle.lines[-1].startswith("jeeves: ")
    assert "Traceback" not in bundle.output


def test_sigterm_during_training_stops_everything(tmp_path: Path) -> None:
    bundle = BundleProcess(["run", "--once", *SHORT], tmp_path / "data", free_ports(4))
    try:
        bundle.wait_for(r"▸ train", 240)
        processes = bundle.descendants()
        bundle.process.send_signal(signal.SIGTERM)
        bundle.wait(60)
    finally:
        bundle.end()
    assert eventually(
        lambda: not any(process.is_running() and process.status() != "zombie" for process in processes), 10
    )
