"""Exit codes, output and messages of the command line."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

Jeeves = Callable[..., Any]
NOBODY = "http://127.0.0.1:9"


def manifests(jeeves: Jeeves, project: Path) -> dict[str, Path]:
    """Every step once, by itself; the manifests as files."""
    paths = {name: project / f"{name}.json" for name in ("collection", "index", "dataset", "training", "model")}
    steps = [
        ("collect", "--recipe", "collect.yaml", "--out", paths["collection"]),
        ("index", "--recipe", "curate.yaml", "--collection", paths["collection"], "--out", paths["index"], "--serve"),
        ("curate", "--recipe", "curate.yaml", "--collection", paths["collection"], "--index", paths["index"]),
        ("train", "--recipe", "train.yaml", "--dataset", paths["dataset"], "--out", paths["training"]),
        ("quantize", "--training", paths["training"], "--type", "Q8_0", "--out", paths["model"]),
    ]
    for step in steps:
        more = ("--out", paths["dataset"]) if step[0] == "curate" else ()
        done = jeeves(*(str(word) for word in (*step, *more)))
        assert done.returncode == 0, done.stderr
    return paths


@pytest.mark.slow
def test_each_step_alone_up_to_promotion(jeeves: Jeeves, project: Path) -> None:
    paths = manifests(jeeves, project)
    report = project / "report.json"
    judged = jeeves(
        *("evaluate", "--recipe", "evaluate.yaml", "--model", str(paths["model"])),
        *("--dataset", str(paths["dataset"]), "--out", str(report)),
    )
    assert judged.returncode == 0, judged.stderr
    assert "answer loss" in judged.stdout
    assert "✓ answer_loss" in judged.stdout
    promoted = jeeves("promote", "--model", str(paths["model"]), "--report", str(report), "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert json.loads(promoted.stdout)["name"] == "jeeves-test"
    # The champion: the report that promoted it answers the same question, and no other one.
    (project / "strict.yaml").write_text("name: strict\n")
    codes = {}
    for recipe in ("evaluate", "strict"):
        asked = ("evaluate", "--recipe", f"{recipe}.yaml", "--model", str(paths["model"]))
        again = jeeves(*asked, "--dataset", str(paths["dataset"]))
        codes[recipe] = (again.returncode, "is the champion already" in again.stdout)
    assert codes == {"evaluate": (0, True), "strict": (3, False)}


@pytest.mark.slow
def test_gate_that_refuses_is_exit_3_and_cannot_be_passed_by(jeeves: Jeeves, project: Path) -> None:
    paths = manifests(jeeves, project)
    (project / "strict.yaml").write_text("name: strict\n")
    report = project / "report.json"
    judged = jeeves(
        *("evaluate", "--recipe", "strict.yaml", "--model", str(paths["model"])),
        *("--dataset", str(paths["dataset"]), "--out", str(report), "--json"),
    )
    assert judged.returncode == 3, judged.stderr
    assert json.loads(judged.stdout)["passed"] is False
    promoted = jeeves("promote", "--model", str(paths["model"]), "--report", str(report))
    assert promoted.returncode == 3
    assert "gate refused" in promoted.stderr


def pipeline_arguments(**recipes: str) -> list[str]:
    names = {kind: recipes.get(kind, f"{kind}.yaml") for kind in ("collect", "curate", "train", "evaluate")}
    return ["pipeline", *(word for kind, name in names.items() for word in (f"--{kind}-recipe", name))]


def test_pipeline_with_json_prints_json_only(jeeves: Jeeves) -> None:
    done = jeeves(*pipeline_arguments(), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "evaluation"
    assert done.stderr == ""


@pytest.mark.slow
def test_pipeline_for_people_and_a_second_time(jeeves: Jeeves) -> None:
    done = jeeves(*pipeline_arguments())
    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stdout, "colours where no terminal is"
    for line in ("✓ collect", "1 documents, 2 code blocks", "✓ train", "held-out 2.50 → 2.00", "gate passed, 1 of 1"):
        assert line in done.stdout
    again = jeeves(*pipeline_arguments())
    assert again.returncode == 0
    assert "champion" in again.stdout


@pytest.mark.slow
def test_pipeline_whose_gate_refuses(jeeves: Jeeves, project: Path) -> None:
    (project / "strict.yaml").write_text("name: strict\nseed: 4\n")
    (project / "train.yaml").write_text((project / "train.yaml").read_text().replace("name: test", "name: other"))
    done = jeeves(*pipeline_arguments(evaluate="strict.yaml"))
    assert done.returncode == 3, done.stderr
    assert "gate refused, 0 of 1" in done.stdout


@pytest.mark.parametrize("arguments", [["ask", "Why?"], ["keys", "list"], ["rollback"], ["chat"]])
def test_service_that_is_away_is_exit_4_and_says_how_to_start_it(arguments: list[str], jeeves: Jeeves) -> None:
    urls = {f"JEEVES_{name}_URL": NOBODY for name in ("COLLECTOR", "CURATOR", "TRAINER", "GATEWAY")}
    done = jeeves(*arguments, stdin="Why?\n", **urls)
    assert done.returncode == 4
    assert done.stdout == ""
    assert "did not come up" in done.stderr or f"does not answer at {NOBODY}: start it with `jeeves up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_tells_who_is_there(jeeves: Jeeves) -> None:
    done = jeeves("status", "--json")
    assert done.returncode == 0, done.stderr
    assert {name: row["up"] for name, row in json.loads(done.stdout).items()} == {
        "collector": True,
        "curator": True,
        "trainer": True,
        "gateway": True,
    }
    partly = jeeves("status", "--json", JEEVES_TRAINER_URL=NOBODY)
    assert partly.returncode == 4
    assert json.loads(partly.stdout)["trainer"]["up"] is False


def test_another_program_at_the_port_is_said(jeeves: Jeeves) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>It works!</html>")

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = jeeves("keys", "list", JEEVES_GATEWAY_URL=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert done.returncode == 4
    assert "is not the gateway" in done.stderr
    assert "It works!" in done.stderr


def test_proxy_of_the_environment_is_not_asked_for_this_machine(jeeves: Jeeves) -> None:
    done = jeeves("ask", "Why?", "--json", HTTP_PROXY=NOBODY, ALL_PROXY=NOBODY, http_proxy=NOBODY)
    assert done.returncode == 0, done.stderr


def test_failed_job_is_exit_5_with_its_reason(jeeves: Jeeves, project: Path) -> None:
    (project / "collect.yaml").write_text(
        (project / "collect.yaml").read_text().replace("name: test", "name: unusable")
    )
    done = jeeves("collect", "--recipe", "collect.yaml", "--json")
    assert done.returncode == 5
    assert done.stdout == ""
    assert "No usable document in /x: give a folder" in done.stderr


def test_recipe_with_five_mistakes_names_all_five(jeeves: Jeeves, project: Path) -> None:
    (project / "train.yaml").write_text(
        "name: n\nmodel_name: Not Lower\nbase_model: {name: b, location: x, licence: MIT}\n"
        "learning_rate: 0\nepochs: many\nmicro_batch_samples: 0\nmax_length_tokens: 128\noptimiser: adam\n"
    )
    done = jeeves("train", "--recipe", "train.yaml", "--dataset", "x.json")
    assert done.returncode == 2
    assert "has 5 mistake(s)" in done.stderr
    for field in ("model_name", "learning_rate", "epochs", "micro_batch_samples", "optimiser"):
        assert f"  {field}: " in done.stderr
    everything = jeeves(*pipeline_arguments())
    assert everything.returncode == 2, "it started although a recipe has mistakes"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("a: [", "is not YAML"), (b"\xff\xfe", "is not YAML"), ("", "recipe")],
)
def test_unusable_recipe(content: str | bytes | None, message: str, jeeves: Jeeves, project: Path) -> None:
    if content is not None:
        (project / "own.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = jeeves("collect", "--recipe", "own.yaml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_manifest_of_another_kind_is_refused(jeeves: Jeeves, project: Path) -> None:
    (project / "wrong.json").write_text('{"kind": "index"}')
    done = jeeves("train", "--recipe", "train.yaml", "--dataset", "wrong.json")
    assert done.returncode == 2
    assert "is not a DatasetManifest: run the step before again" in done.stderr


def test_source_that_does_not_exist(jeeves: Jeeves) -> None:
    done = jeeves("collect", "--source", "no/such/folder")
    assert done.returncode == 2
    assert "neither a folder nor a git address" in done.stderr
    pairs = jeeves("collect", "--source", "documents", "--pairs", "nothing.csv")
    assert pairs.returncode == 2
    assert "PAIRS=nothing.csv does not exist" in pairs.stderr


@pytest.mark.parametrize("arguments", [["fly"], ["ask"], ["ask", "Why?", "--batch", "x"], ["collect", "--colour"]])
def test_wrong_usage_is_exit_2(arguments: list[str], jeeves: Jeeves) -> None:
    done = jeeves(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_a_command_help_is_shown(jeeves: Jeeves) -> None:
    done = jeeves()
    assert done.returncode in (0, 2)
    assert "promote" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_version(jeeves: Jeeves) -> None:
    assert json.loads(jeeves("version", "--json").stdout)["version"]
