"""A real service process with a tiny real job."""

import json
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
import pytest

PROBE = Path(__file__).parent / "probe"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ProbeService:
    """The probe service as an operating system process that tests may kill."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log = (self.data_dir / "probe.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROBE / "probe_service.py")],
                env={
                    **os.environ,
                    "PYTHONPATH": str(PROBE),
                    "JEEVES_PORT": str(self.port),
                    "JEEVES_DATA_DIR": str(self.data_dir),
                    **self._environment,
                },
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.http.get("/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.data_dir / "probe.log").read_text()
                assert time.monotonic() < deadline, "the probe service did not come up"
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)

    def submit(self, kind: str = "probes", headers: dict[str, str] | None = None, **request: Any) -> dict[str, Any]:
        response = self.http.post(f"/v1/{kind}", json=request, headers=headers)
        assert response.status_code in (200, 202), response.text
        body: dict[str, Any] = response.json()
        return body

    def job(self, job_id: str, kind: str = "probes") -> dict[str, Any]:
        response = self.http.get(f"/v1/{kind}/{job_id}")
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def wait(
        self, job_id: str, until: Callable[[dict[str, Any]], bool] | None = None, seconds: float = 60
    ) -> dict[str, Any]:
        """The job once `until` holds; by default once it is in a final state."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if until(job) if until else job["state"] in ("succeeded", "failed", "cancelled"):
                return job
            assert time.monotonic() < deadline, f"{job}\n{(self.data_dir / 'probe.log').read_text()[-3000:]}"
            time.sleep(0.05)

    def events(self, job_id: str, after: int | None = None) -> list[tuple[int, str, dict[str, Any]]]:
        """All events of a stream that ends by itself: sequence, type, data."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        found = []
        with self.http.stream("GET", f"/v1/probes/{job_id}/events", headers=headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    found.append((event["sequence"], event["type"], event["data"]))
        return found

    def job_pid(self, job_id: str) -> int:
        return int((self.data_dir / "probe" / "work" / job_id / "pid").read_text())

    def steps(self, job_id: str) -> list[str]:
        return (self.data_dir / "probe" / "work" / job_id / "steps").read_text().split()


@pytest.fixture
def probe_services(tmp_path: Path) -> Iterator[Callable[..., ProbeService]]:
    """Makes services of the test's own."""
    made: list[ProbeService] = []

    def make(**environment: str) -> ProbeService:
        service = ProbeService(tmp_path / "data", **environment)
        made.append(service)
        service.start()
        return service

    yield make
    for service in made:
        service.stop()
        service.http.close()


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeService]:
    """One service for the tests that leave it alive."""
    service = ProbeService(tmp_path_factory.mktemp("probe") / "data", JEEVES_JOBS_CONCURRENT="4")
    service.start()
    yield service
    service.stop()
    service.http.close()
