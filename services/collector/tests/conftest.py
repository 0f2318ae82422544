"""Real folders, real pandoc, the real job; and the service as a process that tests may kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from jeeves_collector.jobs import collect
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Document, Pair
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext

WriteTree = Callable[[dict[str, str | bytes]], Path]


class Collector:
    """Runs collections in this process, in one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.store = ArtifactStore(str(data_dir / "store"))
        self.jobs = JobStore(open_database(f"sqlite:///{data_dir / 'collector' / 'state.sqlite'}"))

    def collect(self, *sources: dict[str, Any], **recipe: Any) -> CollectionManifest:
        request = {"recipe": {"name": "test", "sources": list(sources), **recipe}}
        job = self.jobs.submit("collections", {**request, "nonce": uuid.uuid4().hex}, "in-flight").job
        work_dir = self.data_dir / "collector" / "work" / job.id
        work_dir.mkdir(parents=True)
        self.last_job = job.id
        return collect(JobContext(job.id, work_dir, self.store, self.jobs), request)

    def log(self) -> str:
        events = self.jobs.events(self.last_job)
        return "\n".join(event.data["message"] for event in events if event.type == "log")

    def documents(self, manifest: CollectionManifest) -> dict[str, Document]:
        documents = [
            Document.model_validate_json(line)
            for shard in manifest.shards
            for line in self.store.read_bytes(shard).decode().splitlines()
        ]
        assert [document.source_path for document in documents] == sorted(
            document.source_path for document in documents
        )
        return {document.source_path: document for document in documents}

    def pairs(self, manifest: CollectionManifest) -> dict[str, Pair]:
        lines = (line for shard in manifest.pair_shards for line in self.store.read_bytes(shard).decode().splitlines())
        return {pair.id: pair for pair in map(Pair.model_validate_json, lines)}


@contextmanager
def running_collector(data_dir: Path) -> Iterator[Collector]:
    running = Collector(data_dir)
    yield running
    running.jobs._engine.dispose()


@pytest.fixture(scope="session")
def make_collector() -> Callable[[Path], AbstractContextManager[Collector]]:
    return running_collector


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    with running_collector(tmp_path / "data") as running:
        yield running


@pytest.fixture
def write_tree(tmp_path: Path) -> WriteTree:
    def write(files: dict[str, str | bytes]) -> Path:
        root = tmp_path / "source"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


class CollectorProcess:
    """`python -m jeeves_collector` on a free port."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._environment = {
            **os.environ,
            **environment,
            "JEEVES_DATA_DIR": str(data_dir),
            "JEEVES_PORT": str(port),
        }
        self._log = data_dir.parent / "collector.log"
        data_dir.mkdir(parents=True, exist_ok=True)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jeeves_collector"], env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.http.get("/healthz").raise_for_status()
                return
            except httpx.TransportError:
                assert self.process.poll() is None and time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.http.close()

    def submit(self, *sources: dict[str, Any]) -> dict[str, Any]:
        response = self.http.post("/v1/collections", json={"recipe": {"name": "test", "sources": list(sources)}})
        assert response.status_code in (200, 202), response.text
        job: dict[str, Any] = response.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.http.get(f"/v1/collections/{job_id}").raise_for_status().json()
        return job

    def wait(self, job_id: str, seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id))["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, json.dumps(job)
            time.sleep(0.1)
        return job


@pytest.fixture(scope="session")
def make_collector_process() -> type[CollectorProcess]:
    return CollectorProcess


@pytest.fixture(scope="module")
def collector_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    running = CollectorProcess(tmp_path_factory.mktemp("service") / "served")
    running.start()
    yield running
    running.stop()
