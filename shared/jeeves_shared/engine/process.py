"""One llama-server process: start it, wait until it serves, see it die, stop it.

    spec = EngineSpec(gguf_path=path, alias="jeeves", log_path=folder / "engine.log", slots=4)
    async with EngineProcess(spec) as engine:          # starts, waits, and stops in the end
        ...  # POST to engine.base_url + "/v1/chat/completions" with engine.headers

Restarting, backoff and swapping are the caller's: an `EngineProcess` is started once.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from jeeves_shared.engine.binary import find_engine_binary
from jeeves_shared.engine.errors import EngineNotReady, EngineStartFailed
from jeeves_shared.engine.spec import EngineSpec

READY_TIMEOUT_SECONDS = 120.0
GRACE_SECONDS = 5.0
LOG_TAIL_BYTES = 4096
LOG_LIMIT_BYTES = 8 * 1024 * 1024
"""A log longer than this is moved to `<name>.1` before a start."""

_POLL_SECONDS = 0.1
_HEALTH_TIMEOUT_SECONDS = 2.0
_ANSWER_LIMIT_BYTES = 65_536
_PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here: between fork and exec nothing may be loaded


class EngineProcess:
    """A supervised llama-server.

    The engine dies with its parent: the kernel sends it SIGKILL (`PR_SET_PDEATHSIG`) when the
    *thread* that called `start()` ends. So call `start()` from a thread that lives as long as the
    engine should: the event loop's own, never one of an executor. It runs in a session of its
    own, so that Ctrl-C in a terminal reaches the gateway first, which can drain.

    Args:
        spec: what to start.
        binary: llama-server; None finds the installed one at start.
    """

    def __init__(self, spec: EngineSpec, binary: Path | None = None) -> None:
        self.spec = spec
        self._binary = binary
        self._port = spec.port
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start_bytes = 0
        self._copy_file: int | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process exists now; asks the kernel, so a kill is seen at once."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_status(self) -> int | None:
        """As `subprocess` gives it: negative for a signal; None while it runs or before the start."""
        return None if self._process is None else self._process.poll()

    @property
    def base_url(self) -> str:
        """Address without a trailing slash, such as ``http://127.0.0.1:41873``.

        Raises:
            EngineNotReady: the port is not chosen yet; `start()` does that.
        """
        if self._port == 0:
            raise EngineNotReady("the engine was not started, its port is not known yet")
        host = f"[{self.spec.host}]" if ":" in self.spec.host else self.spec.host
        return f"http://{host}:{self._port}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every request to the engine needs."""
        return {"Authorization": f"Bearer {self.spec.api_key.get_secret_value()}"}

    @property
    def copy_file(self) -> int | None:
        """Number by which the engine knows the memory that slots are copied through.

        It has no name, only this process and the engine can open it, and it ends with both. None if slots are not
        copied, before the start and after the stop.
        """
        return self._copy_file

    def empty_copy_file(self) -> None:
        """Forget what was copied last."""
        if self._copy_file is not None:
            os.ftruncate(self._copy_file, 0)

    async def start(self) -> None:
        """Start the process; returns at once, before the model is loaded.

        Raises:
            EngineBinaryMissing: no llama-server is installed.
            EngineStartFailed: started before, no model file, or the process could not be made.
        """
        if self._process is not None:
            raise EngineStartFailed("this engine was started already; make a new EngineProcess")
        binary = self._binary or find_engine_binary()
        if not self.spec.gguf_path.is_file():
            raise EngineStartFailed(f"the model file {self.spec.gguf_path} does not exist")
        try:
            self._port = self.spec.port or _free_port(self.spec.host)
            self._rotate_log()
            if self.spec.copies_slots and self.spec.slots > 1:
                self._copy_file = os.memfd_create("engine-slot")
                os.fchmod(self._copy_file, 0o600)
            with self.spec.log_path.open("ab") as log:
                self._log_start_bytes = log.tell()
                self._process = subprocess.Popen(  # noqa: ASYNC220  (some 2 ms; must be this thread, see the class)
                    self.spec.command_line(binary, self._port),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self.spec.environment(),
                    start_new_session=True,
                    pass_fds=() if self._copy_file is None else (self._copy_file,),
                    preexec_fn=_DieWithParent(),  # noqa: PLW1509  (takes no lock)
                )
        except (OSError, subprocess.SubprocessError) as exc:
            self._close_copy_file()
            raise EngineStartFailed(f"llama-server could not be started ({binary}): {exc}") from exc

    async def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until the model is loaded and the engine answers.

        The process goes on after a timeout; stop it or wait again.

        Raises:
            EngineStartFailed: the process ended; carries the end of its log.
            EngineNotReady: not ready within the time, or not started.
        """
        if self._process is None:
            raise EngineNotReady("the engine was not started")
        deadline = time.monotonic() + timeout_seconds
        while True:
            healthy = await self.healthy()
            if not self.alive:
                raise self._start_failure()
            if healthy:
                return
            if time.monotonic() >= deadline:
                raise EngineNotReady(
                    f"the engine for {self.spec.gguf_path.name} was not ready within {timeout_seconds:g} s; "
                    f"see {self.spec.log_path}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def healthy(self, timeout_seconds: float = _HEALTH_TIMEOUT_SECONDS) -> bool:
        """Whether this very engine answers with its model loaded."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._probe()
        except (OSError, TimeoutError, ValueError):
            return False

    async def wait_exit(self) -> int:
        """Wait until the process ends, for whatever reason; for supervisors.

        Returns:
            The exit status, negative for a signal.

        Raises:
            EngineNotReady: not started.
        """
        if self._process is None:
            raise EngineNotReady("the engine was not started")
        while (status := self._process.poll()) is None:  # noqa: ASYNC110  (any event loop, no thread held)
            await asyncio.sleep(_POLL_SECONDS)
        return status

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End the process: SIGTERM, and SIGKILL after the grace. Does nothing if it is not alive."""
        self._close_copy_file()
        if self._process is None:
            return
        if self._signal(signal.SIGTERM):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self.wait_exit()
        if self._signal(signal.SIGKILL):
            await self.wait_exit()

    def log_tail(self, limit_bytes: int = LOG_TAIL_BYTES) -> str:
        """The end of what this process wrote, without what earlier ones wrote into the same file."""
        try:
            with self.spec.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start_bytes, end - limit_bytes))
                return log.read().decode("utf-8", errors="replace").strip()
        except OSError:
            return ""

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal if the process is alive; whether it was."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.send_signal(number)
        return True

    def _close_copy_file(self) -> None:
        if self._copy_file is not None:
            os.ftruncate(self._copy_file, 0)
            os.close(self._copy_file)
            self._copy_file = None

    def _rotate_log(self) -> None:
        path = self.spec.log_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))

    def _start_failure(self) -> EngineStartFailed:
        status, tail = self.exit_status, self.log_tail()
        if "error while loading shared libraries" in tail:
            hint = "a system library is missing (apt install libgomp1 libstdc++6)"
        elif status == -signal.SIGILL:
            hint = "it was built for another processor: run deploy/engine/build_wheel.py here, or use --portable"
        elif status == -signal.SIGKILL:
            hint = "it was killed, most likely for memory: fewer slots, a shorter context or a smaller quantization"
        elif "couldn't bind" in tail:
            hint = f"port {self._port} is taken: start again, or choose another"
        else:
            hint = f"see the end of {self.spec.log_path}"
        return EngineStartFailed(
            f"the engine for {self.spec.gguf_path.name} ended with status {status} before it was ready: {hint}",
            log_tail=tail,
            exit_status=status,
        )

    async def _probe(self) -> bool:
        """Whether the one that listens on the port serves this model and knows this engine's key.

        `/v1/models` and not `/health`, which tells nothing of who answers: another process may have
        got the port. A connection of its own, since the server drops idle ones.

        Raises:
            OSError: nobody listens or the connection broke.
            ValueError: the answer is not what llama-server says.
        """
        reader, writer = await asyncio.open_connection(self.spec.host, self._port)
        try:
            lines = ("GET /v1/models HTTP/1.1", "Host: engine", "Connection: close")
            fields = (f"{name}: {value}" for name, value in self.headers.items())
            writer.write("\r\n".join((*lines, *fields, "", "")).encode("ascii"))
            await writer.drain()
            head, _, body = (await reader.read(_ANSWER_LIMIT_BYTES)).partition(b"\r\n\r\n")
            while chunk := await reader.read(_ANSWER_LIMIT_BYTES - len(body)):
                body += chunk
            if not head.startswith(b"HTTP/1.1 200 "):
                return False
            return any(model["id"] == self.spec.alias for model in json.loads(body)["data"])
        except (KeyError, TypeError) as exc:
            raise ValueError("another server answers") from exc
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class _DieWithParent:
    """Runs in the child between fork and exec: asks the kernel for SIGKILL when the parent is gone.

    `preexec_fn` is unsafe in a process with threads if it takes locks; this makes two system
    calls with what was prepared before the fork. A parent that died in between is noticed by
    its number.
    """

    def __init__(self) -> None:
        self._parent = os.getpid()

    def __call__(self) -> None:
        if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL)) != 0 or os.getppid() != self._parent:
            os._exit(127)


def _free_port(host: str) -> int:
    """A TCP port that nobody has now. Another process may take it before the engine does: the start fails then."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
