"""The figures of the main job on this machine: `make bench`. Printed, never asserted.

    install            an empty virtual environment with empty caches, engine compiled
    whole loop         `jeeves run --once` on the starter pack in an empty data folder
    peak memory        of the bundle and all its children meanwhile (proportional set size)
    first token        from starting the installed services to the first streamed chat token
    gateway memory     of the gateway's own process after a few answers, without its engine

`python tests/bench/bench.py [--no-install] [--no-loop DATA_DIR]`
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from bundle_process import BundleProcess, free_ports  # noqa: E402

from jeeves_cli.ask import ask, stream  # noqa: E402
from jeeves_cli.client import ServiceClient  # noqa: E402

QUESTION = "How do I keep a secret out of the console log?"
LOOP_SECONDS_MAX = 3600


def install_seconds() -> float:
    """Set up everything from nothing, as a new user's first `make run` does."""
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache", "PIP_NO_CACHE_DIR": "1"}
        started = time.monotonic()
        command = [sys.executable, str(ROOT / "deploy" / "install.py"), "--venv", f"{folder}/venv"]
        subprocess.run(command, check=True, env=environment)
        return time.monotonic() - started


class MemoryPeak:
    """Samples the memory of a process and its descendants twice a second."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            try:
                root = psutil.Process(self._pid)
                processes = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.peak_bytes = max(self.peak_bytes, sum(_pss(process) for process in processes))

    def stop(self) -> int:
        """End sampling; the peak in bytes."""
        self._stop.set()
        self._thread.join()
        return self.peak_bytes


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def loop(data_dir: Path, ports: list[int]) -> tuple[float, int, int]:
    """Seconds, peak bytes and exit code of the whole loop."""
    started = time.monotonic()
    bundle = BundleProcess(["run", "--once", "--question", QUESTION], data_dir, ports)
    memory = MemoryPeak(bundle.process.pid)
    try:
        code = bundle.wait(LOOP_SECONDS_MAX)
    finally:
        bundle.end()
    print(bundle.output)
    return time.monotonic() - started, memory.stop(), code


def serving(data_dir: Path, ports: list[int]) -> tuple[float, int]:
    """Seconds to the first streamed token, and the gateway's own resident memory."""
    started = time.monotonic()
    bundle = BundleProcess(["up"], data_dir, ports)
    try:
        gateway = ServiceClient("gateway", bundle.gateway_url)
        gateway.wait_ready(120)
        first = 0.0
        while not first:
            for piece in stream(gateway, [{"role": "user", "content": QUESTION}]):
                if isinstance(piece, str):
                    first = first or time.monotonic() - started
        for _ in range(5):
            ask(gateway, QUESTION)
        return first, bundle.find("jeeves_gateway").memory_info().rss
    finally:
        bundle.end()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-install", action="store_true")
    parser.add_argument("--no-loop", type=Path, help="a data folder in which the loop ran before")
    arguments = parser.parse_args()
    figures: list[tuple[str, str, str]] = []
    if not arguments.no_install:
        figures.append(("install from empty", f"{install_seconds():.0f} s", "≤ 480 s"))
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        data_dir, ports = arguments.no_loop or Path(folder), free_ports(4)
        if arguments.no_loop is None:
            seconds, peak_bytes, code = loop(data_dir, ports)
            figures.append((f"whole loop (exit code {code})", f"{seconds:.0f} s", "≤ 720 s"))
            figures.append(("peak memory of the bundle", f"{peak_bytes / 2**30:.2f} GiB", "≤ 8 GiB"))
        first, rss_bytes = serving(data_dir, ports)
        figures.append(("services up to first streamed token", f"{first:.1f} s", "≤ 60 s"))
        figures.append(("gateway process without its engine", f"{rss_bytes / 2**20:.0f} MiB", "≤ 250 MiB"))
    print(f"\n{os.cpu_count()} processors")
    for name, value, bound in figures:
        print(f"{name:<40} {value:>12}   {bound}")


if __name__ == "__main__":
    main()
