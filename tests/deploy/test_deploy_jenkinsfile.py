"""The Jenkinsfile, run by Groovy with a recorder for Jenkins, and its shell lines run with a recorder for `jeeves`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jeeves_cli.main import app

STAGES = (
    "Preflight", "Collect", "Index", "Curate", "Train on a GPU", "Train on the CPU", "Quantize", "Evaluate", "Gate",
    "Promote", "Announce",
)  # fmt: skip

# Sections and directives of Declarative Pipeline by where they may stand (jenkins.io/doc/book/pipeline/syntax).
DIRECTIVES = {
    "pipeline": {"agent", "parameters", "options", "environment", "stages", "post", "triggers", "tools", "libraries"},
    "stage": {
        "agent", "environment", "input", "matrix", "options", "parallel", "post", "stages", "steps", "tools", "when",
    },
    "post": {
        "aborted", "always", "changed", "cleanup", "failure", "fixed", "regression", "success", "unstable",
        "unsuccessful",
    },
    "stages": {"stage", "skipped"},  # the recorder's own word for a stage whose condition is false
    "steps": {"sh", "script", "stash", "unstash", "echo"},
}  # fmt: skip

RECORDER = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["SEEN"], "a") as seen:
    print(json.dumps(sys.argv[1:]), file=seen)
"""

Calls = list[dict[str, Any]]
Play = Callable[..., Calls]


@pytest.fixture(scope="module")
def play(root: Path, program: Callable[[str, str], Path]) -> Play:
    groovy = program("groovy", "apt install groovy")
    java = program("java", "apt install default-jre-headless")
    environment = {**os.environ, "JAVA_HOME": str(java.resolve().parents[1])}

    def run(*arguments: str, file: Path = root / "Jenkinsfile") -> Calls:
        script = Path(__file__).with_name("jenkinsfile_calls.groovy")
        done = subprocess.run(
            [groovy, script, file, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        calls: Calls = json.loads(done.stdout.splitlines()[-1])
        return calls

    return run


@pytest.fixture(scope="module")
def usual(play: Play) -> Calls:
    return play()


def _named(calls: Calls, name: str) -> Calls:
    return [call for call in calls if call["name"] == name]


def _shell_lines(calls: Calls) -> list[str]:
    arguments = (call["args"][0] for call in _named(calls, "sh"))
    return [argument["script"] if isinstance(argument, dict) else argument for argument in arguments]


def test_it_has_the_stages_of_the_loop_in_order(usual: Calls) -> None:
    assert tuple(call["args"][0] for call in _named(usual, "stage")) == STAGES


def _misplaced(calls: Calls) -> list[str]:
    places = [
        ("/".join(call["path"]), call["path"][-1].split(":")[0] if call["path"] else "", call["name"]) for call in calls
    ]
    return [f"{path}/{name}" for path, where, name in places if where in DIRECTIVES and name not in DIRECTIVES[where]]


def test_every_directive_is_known_where_it_stands(usual: Calls) -> None:
    assert _misplaced(usual) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("stages {", "stagess {"), ("        always {", "        allways {"), ("stash name", "stach name")],
)
def test_a_misspelt_directive_is_seen(right: str, wrong: str, play: Play, root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "Jenkinsfile"
    text = (root / "Jenkinsfile").read_text(encoding="utf-8")
    assert right in text
    broken.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    assert _misplaced(play(file=broken))


def test_the_gate_refuses_without_failing_the_build(play: Play) -> None:
    calls = play("--exit", "jeeves evaluate=3")
    assert "champion is unchanged" in _named(calls, "unstable")[0]["args"][0]
    assert not any("jeeves promote" in line for line in _shell_lines(calls))
    assert not _named(calls, "failed")


def test_an_evaluation_that_failed_fails_the_build(play: Play) -> None:
    calls = play("--exit", "jeeves evaluate=5")
    assert _named(calls, "failed")
    assert not any("jeeves promote" in line for line in _shell_lines(calls))


def test_training_goes_to_the_agent_with_a_gpu_when_asked(play: Play, usual: Calls) -> None:
    with_gpu = play("--param", "GPU=true")
    for calls, stage in ((usual, "Train on the CPU"), (with_gpu, "Train on a GPU")):
        places = [call["path"] for call in _named(calls, "sh") if "jeeves train" in str(call["args"])]
        assert [path[2] for path in places] == [f"stage:{stage}"]


def test_no_promotion_when_not_asked(play: Play) -> None:
    assert not any("jeeves promote" in line for line in _shell_lines(play("--param", "PROMOTE=false")))


def test_secrets_are_bound_and_never_interpolated(root: Path, usual: Calls) -> None:
    assert {call["args"][0] for call in _named(usual, "credentials")} == {"jeeves-token", "jeeves-api-key"}
    text = (root / "Jenkinsfile").read_text(encoding="utf-8")
    # `sh` with double quotes would put values into the command before Jenkins can mask them.
    assert not re.search(r"""\bsh\b[^'"\n]*["]""", text)
    assert "<credential" not in "".join(_shell_lines(usual))


@pytest.mark.parametrize("gpu", ["false", "true"])
def test_every_jeeves_command_is_one_that_exists(gpu: str, play: Play, root: Path, tmp_path: Path) -> None:
    """Runs the shell lines with a `jeeves` that writes its arguments down; the real command line then parses them."""
    calls = play("--param", f"GPU={gpu}")
    recorder = tmp_path / "bin" / "jeeves"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER, encoding="utf-8")
    recorder.chmod(0o755)
    (tmp_path / "manifests").mkdir()
    parameters = {
        call["args"][0]["name"]: str(call["args"][0]["defaultValue"])
        for call in calls
        if call["name"] in ("string", "booleanParam")
    }
    hostile = {
        "SOURCE": 'documents "of" $(touch broken) ours',
        "PAIRS": "pairs; touch broken",
        "BUILD_TAG": "jenkins-jeeves-7",
    }
    environment = {
        "PATH": f"{recorder.parent}:{os.environ['PATH']}",
        "SEEN": str(tmp_path / "seen"),
        **parameters,
        **hostile,
    }
    for line in _shell_lines(calls):
        subprocess.run(
            [shutil.which("sh") or "sh", "-xe", "-c", line],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text(encoding="utf-8").splitlines()]
    assert [arguments[0] for arguments in seen] == [
        "version", "status", "collect", "index", "curate", "train", "quantize", "evaluate", "promote", "status",
    ]  # fmt: skip
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, *arguments in seen:
        commands[name].make_context(name, list(arguments))  # raises click.UsageError on anything unknown or missing
    collect = next(arguments for arguments in seen if arguments[0] == "collect")
    assert hostile["SOURCE"] in collect
    assert hostile["PAIRS"] in collect
    assert not (tmp_path / "broken").exists()


def test_the_default_recipes_are_shipped(root: Path, usual: Calls) -> None:
    for call in _named(usual, "string"):
        if call["args"][0]["name"].endswith("_RECIPE"):
            assert (root / call["args"][0]["defaultValue"]).is_file(), call["args"][0]["name"]
