"""The real command, as a subprocess that the tests read, signal, and whose children they kill."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
JEEVES = Path(sys.executable).with_name("jeeves")


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def environment(data_dir: Path, ports: list[int]) -> dict[str, str]:
    names = ("GATEWAY_PORT", "COLLECTOR_PORT", "CURATOR_PORT", "TRAINER_PORT")
    return {
        **os.environ,
        "JEEVES_DATA_DIR": str(data_dir),
        **{name: str(port) for name, port in zip(names, ports, strict=True)},
    }


class BundleProcess:
    """`jeeves <arguments>` in the project's folder; its output is kept line by line."""

    def __init__(self, arguments: list[str], data_dir: Path, ports: list[int]) -> None:
        self.data_dir = data_dir
        self.gateway_url = f"http://127.0.0.1:{ports[0]}"
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [str(JEEVES), *arguments],
            cwd=ROOT,
            env=environment(data_dir, ports),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()

    def wait_for(self, pattern: str, timeout_seconds: float) -> str:
        """The first line that matches; an error with the whole output when the process ends or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._changed:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                self._changed.wait(0.2)
            if self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"ended with {self.process.returncode} before {pattern!r}:\n{self.output}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} within {timeout_seconds:.0f} s:\n{self.output}")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, fragment: str, timeout_seconds: float = 30.0) -> psutil.Process:
        """The descendant whose command line contains a text."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            for process in self.descendants():
                try:
                    if fragment in " ".join(process.cmdline()):
                        return process
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            time.sleep(0.05)
        raise AssertionError(f"no process with {fragment!r}:\n{self.output}")

    def kill(self, fragment: str) -> None:
        self.find(fragment).send_signal(signal.SIGKILL)

    def interrupt(self) -> list[psutil.Process]:
        """Ctrl-C; the processes that were there before."""
        before = self.descendants()
        self.process.send_signal(signal.SIGINT)
        return before

    def wait(self, timeout_seconds: float) -> int:
        code = self.process.wait(timeout_seconds)
        self._reader.join(10)
        return code

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(10)


def eventually(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return condition()
