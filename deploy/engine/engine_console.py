"""Running the steps of a build under one live line of progress. Standard library only."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

PLAIN_LINE_EVERY_SECONDS = 10.0


class BuildError(Exception):
    """A build that cannot go on: what went wrong, what to do, and the exit code."""

    def __init__(self, exit_code: int, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.exit_code = exit_code
        self.problem = problem
        self.remedy = remedy


class Progress:
    """One line that redraws itself on a terminal; a plain line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._last_plain = float("-inf")
        self._stage = ""

    @property
    def elapsed(self) -> str:
        """Time since the start, as ``m:ss``."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}:{seconds:02d}"

    def update(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Show the stage; with a total, how many of its steps are done."""
        if self._is_terminal:
            width = 28
            filled = width * done // total if total else 0
            bar = "\x1b[36m" + "━" * filled + "\x1b[90m" + "─" * (width - filled) + "\x1b[0m  " if total else ""
            steps = f"step {done}/{total}  " if total else ""
            sys.stderr.write(f"\r\x1b[2K▸ {stage:<9} {bar}{steps}{self.elapsed}")
            sys.stderr.flush()
            return
        now = time.monotonic()
        if stage != self._stage or now - self._last_plain >= PLAIN_LINE_EVERY_SECONDS:
            self._stage, self._last_plain = stage, now
            steps = f" step {done}/{total}" if total else ""
            print(f"engine: {stage}{steps} ({self.elapsed})", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the terminal's line empty, for a message."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def run(command: Sequence[object], log: Path, on_line: Callable[[str], None], environment: dict[str, str]) -> int:
    """Run a command in its own process group; its output goes to the log and, by line, to ``on_line``.

    ``on_line`` is also called with an empty string about once a second, so that clocks move. When
    this process is interrupted the whole group is ended first.

    Returns:
        The command's exit status.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    with log.open("a", encoding="utf-8") as sink:
        sink.write(f"$ {' '.join(str(part) for part in command)}\n")
        sink.flush()
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, start_new_session=True,
        )  # fmt: skip

        output = process.stdout or ()

        def read() -> None:
            for line in output:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            while True:
                try:
                    line = lines.get(timeout=1.0)
                except queue.Empty:
                    line = ""
                if line is None:
                    return process.wait()
                sink.write(line)
                on_line(line.rstrip("\n"))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()


def log_tail(log: Path, lines: int = 12) -> str:
    """The end of the last command's output; of a failed compilation, the first failure."""
    with log.open(encoding="utf-8", errors="replace") as source:
        kept: deque[str] = deque(maxlen=400)
        for line in source:
            if line.startswith("$ "):
                kept.clear()
            else:
                kept.append(line)
    output = list(kept)
    start = next((i for i, line in enumerate(output) if line.startswith("FAILED:")), max(0, len(output) - lines))
    return "".join("    " + line for line in output[start : start + lines]).rstrip()
