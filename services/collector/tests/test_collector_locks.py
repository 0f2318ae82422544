"""Two jobs and one source: one after the other, whoever dies."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.jobs import collect
from jeeves_collector.locks import only_reader
from jeeves_collector.sources.registry import source_key
from jeeves_shared.contracts.recipes import CollectRecipe
from jeeves_shared.errors import JobCancelled
from jeeves_shared.jobs.worker import JobContext

HOLD = """
import sys
from pathlib import Path
from jeeves_collector.locks import only_reader
with only_reader(Path(sys.argv[1]), [sys.argv[2]], lambda _: None, print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "q.jsonl"
    path.write_text("".join(f'{{"question":"Why {number}?","answer":"So."}}\n' for number in range(300)))
    return {"type": "questions", "name": "q", "location": str(path)}


def key_of(source: dict[str, Any]) -> str:
    return source_key(CollectRecipe.model_validate({"name": "test", "sources": [source]}).sources[0])


def test_a_job_waits_for_the_one_that_reads_its_source(collector: Any, source: dict[str, Any]) -> None:
    locks = collector.data_dir / "collector" / "locks"
    with ThreadPoolExecutor(1) as thread:
        with only_reader(locks, [key_of(source)], time.sleep, print):
            collecting = thread.submit(collector.collect, source)
            while "another collection" not in collector_message(collector):
                assert not collecting.done()
                time.sleep(0.02)
        assert collecting.result(60).documents == 300


def collector_message(collector: Any) -> str:
    job = getattr(collector, "last_job", "")
    return collector.jobs.get(job).progress.message if job else ""


def test_two_jobs_at_once_give_the_same(collector: Any, make_collector: Any, source: dict[str, Any]) -> None:
    with make_collector(collector.data_dir) as other, ThreadPoolExecutor(2) as threads:
        first = threads.submit(collector.collect, source)
        second = threads.submit(other.collect, source, source | {"name": "r"})
        one, two = first.result(60), second.result(60)
        assert (one.documents, two.documents) == (300, 600)
        assert collector.collect(source) == one


def test_a_waiting_job_can_be_cancelled(collector: Any, source: dict[str, Any]) -> None:
    job = collector.jobs.submit("collections", {"x": 1}, "in-flight").job
    context = JobContext(job.id, collector.data_dir / "collector" / "work" / job.id, collector.store, collector.jobs)
    context.cancel()
    locks = collector.data_dir / "collector" / "locks"
    with only_reader(locks, [key_of(source)], time.sleep, print), pytest.raises(JobCancelled):
        collect(context, {"recipe": {"name": "t", "sources": [source]}})


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "source"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told: list[str] = []

        def killed_after_a_while(seconds: float) -> None:
            assert told
            holder.kill()
            holder.wait()

        with only_reader(tmp_path, ["source", "another"], killed_after_a_while, told.append):
            assert len(told) == 1
