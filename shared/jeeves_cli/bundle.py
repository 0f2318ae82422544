"""The bundle: all four services on one machine without containers, supervised.

Every service is a child process in a session of its own; it is restarted with growing delays when it dies, and told to
stop when the bundle stops. All data is below one folder; everything listens on loopback.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from jeeves_cli.endpoints import SERVICES, STATE_FILE, BundleState
from jeeves_cli.exits import CommandError
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.process import terminate_with_parent

DISK_FREE_MIN_BYTES = 4 * 1024**3
"""The loop on the starter pack writes some 2 GiB: base model, checkpoints, merged weights, GGUF files."""

_BACKOFF_FIRST_SECONDS = 0.5
_BACKOFF_MAX_SECONDS = 15.0
_STABLE_SECONDS = 30.0
_STOP_GRACE_SECONDS = 40.0
_POLL_SECONDS = 0.1

logger = logging.getLogger(__name__)


@dataclass
class _Service:
    name: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff_seconds: float = _BACKOFF_FIRST_SECONDS
    next_start_at: float = 0.0
    restarts: int = 0
    log: IO[bytes] | None = field(default=None, repr=False)


class Bundle:
    """Starts, watches and stops the services.

    Args:
        data_dir: folder of this installation; made when missing.
        ports: by service name.
        environment: further variables for the services.
    """

    def __init__(self, data_dir: Path, ports: Mapping[str, int], environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self._services = [_Service(name, ports[name]) for name in SERVICES]
        self._environment = dict(environment or {})
        self._stop = threading.Event()
        # The thread that starts the children outlives them: the kernel ends them when it ends.
        self._thread = threading.Thread(target=self._watch, name="bundle", daemon=True)
        self._lock: IO[str] | None = None

    def start(self) -> None:
        """Check what can be checked before, then start all services.

        Raises:
            CommandError: a port is in use, the disk is full, the folder is not writable, or a bundle runs here already.
        """
        self._prepare_folder()
        for service in self._services:
            _require_free_port(service)
        ports = {service.name: service.port for service in self._services}
        state = BundleState(pid=os.getpid(), ports=ports)
        write_atomic(self.data_dir / STATE_FILE, state.model_dump_json(indent=2).encode())
        self._thread.start()

    def stop(self) -> None:
        """Stop all services; returns when no process is left."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_GRACE_SECONDS + 10)
        if self._lock is not None:
            (self.data_dir / STATE_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def restarts(self) -> dict[str, int]:
        """Restarts of each service so far."""
        return {service.name: service.restarts for service in self._services}

    def log_path(self, service: str) -> Path:
        """Log file of a service."""
        return self.data_dir / "logs" / f"{service}.log"

    def _prepare_folder(self) -> None:
        try:
            (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
            lock = (self.data_dir / ".bundle.lock").open("w")
        except OSError as exc:
            raise CommandError(
                f"The data folder {self.data_dir} cannot be written: {exc.strerror}. Set JEEVES_DATA_DIR to another."
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CommandError(
                f"A bundle already runs on {self.data_dir}: stop it first, or set JEEVES_DATA_DIR to another folder."
            ) from None
        self._lock = lock
        free = shutil.disk_usage(self.data_dir).free
        if free < DISK_FREE_MIN_BYTES:
            raise CommandError(
                f"Only {free / 1024**3:.1f} GiB free in {self.data_dir}; {DISK_FREE_MIN_BYTES >> 30} GiB are needed. "
                "Free some space, or set JEEVES_DATA_DIR to a folder on another disk."
            )

    def _watch(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            for service in self._services:
                if service.process is None:
                    if now >= service.next_start_at:
                        self._launch(service)
                elif (code := service.process.poll()) is not None:
                    self._note_end(service, code, now)
            self._stop.wait(_POLL_SECONDS)
        self._end_all()

    def _launch(self, service: _Service) -> None:
        try:
            self._start_process(service)
        except OSError as exc:
            # No space for the log, no memory for a process: this thread has to live, so that it can try again.
            logger.warning("%s could not be started: %s", service.name, exc)
            service.next_start_at = time.monotonic() + _BACKOFF_MAX_SECONDS

    def _start_process(self, service: _Service) -> None:
        service.log = self.log_path(service.name).open("ab")
        service.process = subprocess.Popen(
            [sys.executable, "-m", f"jeeves_{service.name}"],
            env={
                **os.environ,
                **self._environment,
                "JEEVES_HOST": "127.0.0.1",
                "JEEVES_PORT": str(service.port),
                "JEEVES_DATA_DIR": str(self.data_dir),
            },
            stdin=subprocess.DEVNULL,
            stdout=service.log,
            stderr=service.log,
            start_new_session=True,
            # One system call on a library that is loaded already: safe between fork and exec.
            preexec_fn=terminate_with_parent,  # noqa: PLW1509
        )
        service.started_at = time.monotonic()

    def _note_end(self, service: _Service, code: int, now: float) -> None:
        if now - service.started_at > _STABLE_SECONDS:
            service.backoff_seconds = _BACKOFF_FIRST_SECONDS
        service.next_start_at = now + service.backoff_seconds
        logger.warning("%s ended with %s; restart in %.1f s", service.name, code, service.backoff_seconds)
        service.backoff_seconds = min(service.backoff_seconds * 2, _BACKOFF_MAX_SECONDS)
        service.process = None
        service.restarts += 1
        if service.log is not None:
            service.log.close()

    def _end_all(self) -> None:
        running = [(service, service.process) for service in self._services if service.process is not None]
        for _, process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_GRACE_SECONDS
        for service, process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # The whole session: nothing of the service may stay behind.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if service.log is not None:
                service.log.close()


def _require_free_port(service: _Service) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", service.port))
        except OSError as exc:
            raise CommandError(
                f"Port {service.port} for the {service.name} is in use: stop what listens there, or choose another "
                f"with {service.name.upper()}_PORT=<port> (make) or --{service.name}-port (jeeves)."
            ) from exc
