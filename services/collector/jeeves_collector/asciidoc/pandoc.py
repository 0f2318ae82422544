"""Long-lived pandoc processes, with a time limit for each piece.

One process converts piece after piece (`convert.lua`): starting pandoc for every file would cost ten times as much.
pandoc reads and writes nothing but these pipes; its reader runs in pandoc's sandbox, its heap is bounded.
"""

import hashlib
import json
import os
import queue
import selectors
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from types import TracebackType
from typing import Self

import pypandoc

from jeeves_shared.errors import NotReady
from jeeves_shared.process import die_with_parent

VERSION_MIN = (3, 8, 3)
"""The first pandoc with an AsciiDoc reader."""
_HEAP_MAX = "-M1g"
_READ_BYTES = 1 << 16


class ConversionFailed(Exception):
    """pandoc did not convert a piece: it does not understand it, or took too long."""


@dataclass(frozen=True)
class Pandoc:
    """The program, and what its results depend on.

    Attributes:
        program: path of the executable.
        fingerprint: changes when a conversion could come out differently.
    """

    program: str
    fingerprint: str


def find_pandoc() -> Pandoc:
    """The pandoc that `pypandoc_binary` brings, or a newer one of the system.

    Raises:
        NotReady: there is none, or it cannot read AsciiDoc.
    """
    try:
        program, version = pypandoc.get_pandoc_path(), pypandoc.get_pandoc_version()
    except OSError as exc:
        raise NotReady("pandoc is missing: install it with `pip install pypandoc_binary`.") from exc
    if tuple(int(part) for part in version.split(".")[:3]) < VERSION_MIN:
        needed = ".".join(map(str, VERSION_MIN))
        raise NotReady(
            f"pandoc {version} cannot read AsciiDoc, {needed} or newer can: `pip install -U pypandoc_binary`."
        )
    script = hashlib.sha256(_script().read_bytes()).hexdigest()
    return Pandoc(program, f"pandoc {version} {script}")


def _script() -> Path:
    # The packages of Jeeves are installed as plain files, never run out of an archive.
    with as_file(files("jeeves_collector.asciidoc") / "convert.lua") as path:
        return path


class _Worker:
    """One process. Any failure ends it; the next piece starts a new one.

    Its Lua opens a file for the history of what a person types, and removes it at its own end, which a process that is
    killed has not. So it gets a temporary folder to itself, which is removed as soon as it is up.
    """

    def __init__(self, program: str) -> None:
        self._command = [program, "+RTS", _HEAP_MAX, "-RTS", "lua", str(_script())]
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def ask(self, request: bytes, timeout_seconds: float) -> bytes:
        process = self._process or self._start()
        assert process.stdin is not None  # noqa: S101 - for mypy: opened with pipes
        try:
            process.stdin.write(request)
            process.stdin.flush()
            reply = self._read_line(process, timeout_seconds)
            self._remove_folder()
            return reply
        except (OSError, ConversionFailed) as exc:
            self.close()
            raise ConversionFailed(str(exc)) from exc

    def _start(self) -> subprocess.Popen[bytes]:
        self._folder = tempfile.mkdtemp(prefix="jeeves-pandoc-")
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, "TMPDIR": self._folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call
        )
        return self._process

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes], timeout_seconds: float) -> bytes:
        assert process.stdout is not None  # noqa: S101 - for mypy: opened with pipes
        deadline = time.monotonic() + timeout_seconds
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not (parts and parts[-1].endswith(b"\n")):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise ConversionFailed(f"took longer than {timeout_seconds:g} s")
                part = os.read(process.stdout.fileno(), _READ_BYTES)
                if not part:
                    raise ConversionFailed("pandoc ended, perhaps for want of memory")
                parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        self._remove_folder()

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, ""
        if folder:
            shutil.rmtree(folder)


class PandocPool:
    """Converts pieces of AsciiDoc; may be used by as many threads as there are processes.

    Args:
        pandoc: from `find_pandoc`.
        processes: at the same time.
        timeout_seconds: of one piece.
    """

    def __init__(self, pandoc: Pandoc, processes: int, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._workers = [_Worker(pandoc.program) for _ in range(processes)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def convert(self, text: str, *, heading: bool) -> tuple[str, str]:
        """Convert one piece.

        Args:
            text: AsciiDoc.
            heading: whether its first paragraph is a section title.

        Returns:
            The title as one line of Markdown, empty without `heading`; the Markdown of the rest.

        Raises:
            ConversionFailed: pandoc refused the piece, ran out of memory or took too long.
        """
        request = json.dumps({"text": text, "heading": heading}, ensure_ascii=False).encode() + b"\n"
        worker = self._idle.get()
        try:
            reply = json.loads(worker.ask(request, self._timeout_seconds))
        finally:
            self._idle.put(worker)
        if "error" in reply:
            raise ConversionFailed(reply["error"])
        return reply.get("title", ""), reply["markdown"]
