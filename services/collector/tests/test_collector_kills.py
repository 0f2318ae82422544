"""`kill -9` of the service and its job in the middle of each source: a straight run gives the same bytes."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from remotes import REMOTE_KINDS, running, write_feedback, write_posts, write_questions

STAMP = "2026-01-02T03:04:05Z"
FILE_KINDS = ["questions", "stackexchange-file", "feedback", "pairs", "tree", "git"]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    credentials = tmp_path / "credentials"
    credentials.write_text("")
    monkeypatch.setenv("JEEVES_COLLECTOR_RETRIEVED_AT", STAMP)
    monkeypatch.setenv("JEEVES_COLLECTOR_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("JEEVES_COLLECTOR_PANDOC_PROCESSES", "1")
    return credentials


@pytest.fixture
def service(tmp_path: Path, environment: Path, make_collector_process: Any) -> Iterator[Any]:
    started = make_collector_process(tmp_path / "killed" / "data")
    started.start()
    yield started
    started.stop()


def file_source(kind: str, folder: Path) -> dict[str, Any]:
    """Enough of a kind of file that a run takes a while."""
    if kind == "questions":
        write_questions(folder / "q", files=40, rows=60)
        return {"type": "questions", "name": "q", "location": str(folder / "q")}
    if kind == "stackexchange-file":
        write_posts(folder / "Posts.xml", 4000, others=1)
        return {"type": "stackexchange-file", "name": "so", "location": str(folder / "Posts.xml"), "tags": ["jenkins"]}
    if kind == "feedback":
        write_feedback(folder / "f.jsonl", 4000)
        return {"type": "feedback", "name": "f", "location": str(folder / "f.jsonl")}
    if kind == "pairs":
        for number in range(40):
            rows = "".join(f'"Why {number}-{row}?",Because.,t/page.adoc\n' for row in range(100))
            (folder / f"p{number:02d}.csv").write_text(f"question,answer,source_path\n{rows}")
        return {"type": "pairs", "name": "p", "location": str(folder)}
    tree = folder / "tree"
    tree.mkdir()
    for number in range(150):
        code = f"[source,groovy]\n----\nnode {{ echo '{number}' }}\n----\n"
        (tree / f"p{number:03d}.adoc").write_text(f"= Page {number}\n\nA text that is long enough to stay.\n\n{code}")
    if kind == "git":
        for command in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"],
        ):
            subprocess.run(["git", *command], cwd=tree, check=True)
        return {"type": "tree", "name": "t", "location": f"file://{tree}"}
    return {"type": "tree", "name": "t", "location": str(tree)}


def begun(data_dir: Path, kind: str) -> bool:
    """Whether a source has given something, and has not ended; a dump: whether its threads are being made."""
    path = data_dir / "collector" / "ledger.sqlite"
    if not path.is_file():
        return False
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        rows = connection.execute("SELECT finished, cursor FROM runs").fetchall()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    if not rows or rows[0][0]:
        return False
    return kind != "stackexchange-file" or json.loads(rows[0][1] or "{}").get("after", 0) > 0


def kill_in_the_middle(service: Any, source: dict[str, Any], is_middle: Callable[[], bool]) -> dict[str, Any]:
    job = service.submit(source)
    deadline = time.monotonic() + 120
    while not is_middle():
        assert time.monotonic() < deadline
        assert service.job(job["id"])["state"] in ("queued", "running"), "it ended before it could be killed"
        time.sleep(0.002)
    started = psutil.Process(service.process.pid).children(recursive=True)
    service.kill()
    assert psutil.wait_procs(started, timeout=10)[1] == []
    service.start()
    ended: dict[str, Any] = service.wait(job["id"])
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["attempt"] == 2
    return ended


def assert_equal(service: Any, ended: dict[str, Any], collector: Any, source: dict[str, Any]) -> None:
    straight = collector.collect(source)
    assert ended["result"]["id"] == straight.id
    for kind in ("shards", "pair_shards"):
        names = [(shard["sha256"], shard["size_bytes"]) for shard in ended["result"][kind]]
        assert names == [(shard.sha256, shard.size_bytes) for shard in getattr(straight, kind)]
    assert straight.documents or straight.pairs


@pytest.mark.slow
@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_killed_while_it_fetches(kind: str, service: Any, environment: Path, collector: Any) -> None:
    with ExitStack() as stack:
        remote = stack.enter_context(running(kind, environment))
        half = {"discourse": 40, "stackexchange-api": 6, "plugins": 20, "jenkins": 30}[kind]
        ended = kill_in_the_middle(service, remote.source, lambda: len(remote.server.requests) >= half)
        total = len(remote.server.requests)
        remote.server.requests.clear()
        assert_equal(service, ended, collector, remote.source)
        # Lists again, the page in flight again, nothing else.
        assert total <= len(remote.server.requests) + 12


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_killed_while_it_reads(kind: str, service: Any, environment: Path, collector: Any, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    source = file_source(kind, folder)
    data_dir = tmp_path / "killed" / "data"
    ended = kill_in_the_middle(service, source, lambda: begun(data_dir, kind))
    assert_equal(service, ended, collector, source)
