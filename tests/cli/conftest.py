"""The `jeeves` command as a process, against stand-ins for the services in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

COMMAND = Path(sys.executable).with_name("jeeves")
STAND_INS = Path(__file__).parent / "stand_ins"
SERVICES = ("collector", "curator", "trainer", "gateway")
RECIPES: dict[str, dict[str, Any]] = {
    "collect": {"name": "test", "sources": [{"type": "tree", "name": "a", "location": "documents"}]},
    "curate": {"name": "test"},
    "train": {
        "name": "test",
        "model_name": "jeeves-test",
        "base_model": {"name": "tiny", "location": "wheel:x", "licence": "MIT"},
        "learning_rate": 0.001,
        "epochs": 1,
        "micro_batch_samples": 1,
        "max_length_tokens": 128,
    },
    "evaluate": {"name": "test"},
}
Jeeves = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """Without what the developer has set, and with the stand-ins before the real services."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
    return {**kept, "PYTHONPATH": str(STAND_INS), "COLUMNS": "160", "PYTHONUNBUFFERED": "1", **more}


class StandIn:
    """One service."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name = name
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"jeeves_{self.name}"],
                env=clean_environment(JEEVES_PORT=str(self.port), JEEVES_DATA_DIR=str(self.data_dir)),
                stdout=log,
                stderr=log,
            )

    def wait_up(self) -> None:
        wait_healthy(self.url, (self.data_dir / f"{self.name}.log").read_text)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


def wait_healthy(url: str, log: Callable[[], str], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    with httpx.Client(trust_env=False) as http:
        while True:
            try:
                if http.get(f"{url}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                assert time.monotonic() < deadline, log()
            time.sleep(0.05)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, StandIn]]:
    data_dir = tmp_path_factory.mktemp("stand-ins")
    running = {name: StandIn(name, data_dir) for name in SERVICES}
    for stand_in in running.values():
        stand_in.start()
    for stand_in in running.values():
        stand_in.wait_up()
    yield running
    for stand_in in running.values():
        stand_in.stop()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with recipes and a document, as a user has it."""
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("# A\n")
    for kind, recipe in RECIPES.items():
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.fixture
def jeeves(project: Path, stand_ins: dict[str, StandIn]) -> Jeeves:
    """Runs `jeeves <arguments>` in the project's folder."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        urls = {f"JEEVES_{name.upper()}_URL": stand_in.url for name, stand_in in stand_ins.items()}
        return subprocess.run(
            [str(COMMAND), *arguments],
            cwd=project,
            env=clean_environment(**{**urls, **environment}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture
def own_collector(tmp_path: Path) -> Iterator[StandIn]:
    """A collector of the test's own, not started yet, that it may kill."""
    stand_in = StandIn("collector", tmp_path / "collector-data")
    yield stand_in
    stand_in.stop()
