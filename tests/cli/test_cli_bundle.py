"""The bundle: four processes that live and end together. The services are stand-ins; the supervision is real."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

COMMAND = Path(sys.executable).with_name("jeeves")
STAND_INS = Path(__file__).parent / "stand_ins"
SERVICES = ("collector", "curator", "trainer", "gateway")


def free_ports() -> dict[str, int]:
    sockets = [socket.socket() for _ in SERVICES]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = {name: int(probe.getsockname()[1]) for name, probe in zip(SERVICES, sockets, strict=True)}
    for probe in sockets:
        probe.close()
    return ports


class BundleProcess:
    """`jeeves up` or `jeeves run` as a process, with its output."""

    def __init__(self, folder: Path, *arguments: str, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir or folder / "var"
        self.ports = free_ports()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
        self.environment = {
            **kept,
            "PYTHONPATH": str(STAND_INS),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
            "JEEVES_DATA_DIR": str(self.data_dir),
            **{f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
        }
        self.folder = folder
        self.arguments = arguments
        self.output = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(COMMAND), *self.arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
        self.process.stdout.close()

    def wait_for(self, text: str, seconds: float = 90) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None or text in self.output, self.output
            time.sleep(0.05)

    def end(self, seconds: float = 60) -> int:
        assert self.process is not None
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code

    def children(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, word: str) -> psutil.Process | None:
        """The child with this word in its command line, unless it is ending just now."""
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if word in child.cmdline():
                    return child
        return None

    def child(self, word: str, seconds: float = 30) -> psutil.Process:
        deadline = time.monotonic() + seconds
        while (found := self.find(word)) is None:
            assert time.monotonic() < deadline, f"no {word}\n{self.output}"
            time.sleep(0.05)
        return found


@pytest.fixture
def bundles(project: Path) -> Iterator[Callable[..., BundleProcess]]:
    made: list[BundleProcess] = []

    def make(*arguments: str, **options: Any) -> BundleProcess:
        bundle = BundleProcess(project, *arguments, **options)
        made.append(bundle)
        return bundle

    yield make
    for bundle in made:
        if bundle.process is not None and bundle.process.poll() is None:
            bundle.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                bundle.process.wait(40)
            bundle.process.kill()


RUN = (
    "run",
    *(word for kind in ("collect", "curate", "train", "evaluate") for word in (f"--{kind}-recipe", f"{kind}.yaml")),
)
Bundles = Callable[..., BundleProcess]


def gone(processes: list[psutil.Process], seconds: float = 20) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return alive == []


@pytest.mark.slow
def test_child_is_restarted_and_ctrl_c_leaves_nothing(bundles: Bundles) -> None:
    bundle = bundles("up")
    bundle.start()
    bundle.wait_for("Ctrl-C stops everything")
    assert json.loads((bundle.data_dir / "bundle.json").read_text())["ports"] == bundle.ports
    first = bundle.child("jeeves_trainer")
    first.kill()
    psutil.wait_procs([first], timeout=10)
    assert bundle.child("jeeves_trainer").pid != first.pid
    processes = bundle.children()
    assert len(processes) >= 4
    assert bundle.process is not None
    bundle.process.send_signal(signal.SIGINT)
    bundle.end()
    assert gone(processes)
    assert not (bundle.data_dir / "bundle.json").exists()
    assert "Traceback" not in bundle.output


@pytest.mark.slow
def test_killed_bundle_takes_its_services_along(bundles: Bundles) -> None:
    bundle = bundles("up")
    bundle.start()
    bundle.wait_for("Ctrl-C stops everything")
    processes = bundle.children()
    assert bundle.process is not None
    bundle.process.kill()
    bundle.end()
    assert gone(processes)
    again = bundles("up", data_dir=bundle.data_dir)
    again.start()
    again.wait_for("Ctrl-C stops everything")


@pytest.mark.slow
def test_second_bundle_on_the_same_folder_is_refused(bundles: Bundles) -> None:
    first = bundles("up")
    first.start()
    first.wait_for("Ctrl-C stops everything")
    second = bundles("up", data_dir=first.data_dir)
    second.start()
    assert second.end() == 1
    assert "A bundle already runs on" in second.output
    assert "Traceback" not in second.output
    assert json.loads((first.data_dir / "bundle.json").read_text())["ports"] == first.ports


def test_port_in_use_is_said_before_anything_starts(bundles: Bundles) -> None:
    bundle = bundles("up")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", bundle.ports["trainer"]))
        taken.listen()
        bundle.start()
        assert bundle.end() == 1
    assert f"Port {bundle.ports['trainer']} for the trainer is in use" in bundle.output
    assert "TRAINER_PORT=<port>" in bundle.output
    assert "--trainer-port" in bundle.output
    assert not (bundle.data_dir / "bundle.json").exists()


def test_data_folder_that_cannot_be_written(bundles: Bundles, project: Path) -> None:
    (project / "file").write_text("in the way")
    bundle = bundles("up", data_dir=project / "file" / "var")
    bundle.start()
    assert bundle.end() == 1
    assert "cannot be written" in bundle.output
    assert "JEEVES_DATA_DIR" in bundle.output
    assert "Traceback" not in bundle.output


@pytest.mark.slow
def test_run_once_shows_what_came_out(bundles: Bundles) -> None:
    bundle = bundles(*RUN, "--once")
    bundle.start()
    assert bundle.end(120) == 0, bundle.output
    for text in (
        "✓ chat is up",
        "✓ collect",
        "answer loss",
        "gate: passed, 1 of 1 → champion is jeeves-test v1 (Q8_0.gguf",
        "held-out 2.50 → 2.00",
        "How do I keep a secret out of the console log?",
        "before  凭据: bind it. [1]",
        "[1] Using credentials › Handling secrets",
    ):
        assert text in bundle.output, f"{text}\n{bundle.output}"
    again = bundles(*RUN, "--once", data_dir=bundle.data_dir)
    again.start()
    assert again.end(120) == 0, again.output
    assert "before  凭据: bind it. [1]" in again.output, "what the untuned model said was not kept"


@pytest.mark.slow
def test_run_once_whose_gate_refuses(bundles: Bundles, project: Path) -> None:
    (project / "evaluate.yaml").write_text("name: strict\n")
    bundle = bundles(*RUN, "--once")
    bundle.start()
    assert bundle.end(120) == 3, bundle.output
    assert "the old model goes on serving" in bundle.output
    assert "✗ answer_loss: −0.50 where −0.05 is asked for" in bundle.output


@pytest.mark.slow
def test_run_once_without_a_citation_is_exit_6(bundles: Bundles) -> None:
    bundle = bundles(*RUN, "--once", "--question", "How is the weather?")
    bundle.start()
    assert bundle.end(120) == 6, bundle.output


@pytest.mark.slow
def test_run_ends_well_although_every_service_and_the_job_are_killed(bundles: Bundles, project: Path) -> None:
    (project / "collect.yaml").write_text((project / "collect.yaml").read_text().replace("name: test", "name: slow"))
    bundle = bundles(*RUN, "--once")
    bundle.start()
    deadline = time.monotonic() + 90
    while not list(bundle.data_dir.glob("collector/work/*/steps")):
        assert time.monotonic() < deadline, bundle.output
        time.sleep(0.05)
    bundle.child("jeeves_shared.jobs.worker").kill()
    time.sleep(1)
    for service in SERVICES:
        bundle.child(f"jeeves_{service}").kill()
    assert bundle.end(180) == 0, bundle.output
    steps = next(iter(bundle.data_dir.glob("collector/work/*/steps"))).read_text().split()
    assert steps == [str(number) for number in range(30)]
    assert "restarted on the way: collector 1×" in bundle.output


@pytest.mark.slow
def test_job_is_followed_across_a_restart_of_its_service(project: Path, tmp_path: Path, own_collector: Any) -> None:
    """The service is killed and started again by someone else, as in containers; the command line just waits."""
    (project / "collect.yaml").write_text((project / "collect.yaml").read_text().replace("name: test", "name: slow"))
    own_collector.start()
    own_collector.wait_up()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
    command = subprocess.Popen(
        [str(COMMAND), "collect", "--recipe", "collect.yaml", "--json"],
        cwd=project,
        env={**kept, "JEEVES_COLLECTOR_URL": own_collector.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(own_collector.data_dir.glob("collector/work/*/steps")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    own_collector.kill()
    time.sleep(1)
    own_collector.start()
    output, errors = command.communicate(timeout=120)
    assert command.returncode == 0, errors
    assert json.loads(output)["documents"] == 30
