"""The collector's figures on this machine. Printed, never asserted; `make bench` runs it.

    handbook           all AsciiDoc of docs.jenkins.io, from nothing
    unchanged          the same again
    dump               a synthetic Posts.xml of a whole site, 1.5 % of whose questions have the tag
    dump, all wanted   a fifth of that size, every question has it: what conversion costs

`python tests/bench/bench_collector.py [--no-handbook] [--dump-bytes N]`; the handbook lies where JEEVES_CORPORA says.
Each measurement runs in a process of its own. Memory is the peak of that process and of all that it started, together,
sampled twice a second; pandoc is part of it.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "simulators"))
_SAMPLE_SECONDS = 0.5
_TAG_SHARE = 0.015
"""Of the questions of the dump that stands for a whole site."""


def measured(data_dir: Path, source: dict[str, Any]) -> dict[str, float]:
    """Collect in a process of its own: seconds, CPU seconds with all children, peak bytes, documents."""
    command = [sys.executable, __file__, "--child", str(data_dir), json.dumps(source)]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            peak = max(peak, together(psutil.Process(running.pid)))
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(_SAMPLE_SECONDS)
        assert running.stdout is not None
        told = running.stdout.read()
    figures: dict[str, float] = json.loads(told.splitlines()[-1])
    return {**figures, "peak_bytes": peak}


def together(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; pages that they share count for each."""
    try:
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def child(data_dir: Path, source: dict[str, Any]) -> None:
    """One collection, measured from inside."""
    from jeeves_collector.jobs import collect
    from jeeves_shared.artifacts import ArtifactStore
    from jeeves_shared.jobs.store import JobStore, open_database
    from jeeves_shared.jobs.worker import JobContext

    (data_dir / "collector").mkdir(parents=True, exist_ok=True)
    engine = open_database(f"sqlite:///{data_dir / 'collector' / 'state.sqlite'}")
    jobs = JobStore(engine)
    request = {"recipe": {"name": "bench", "sources": [source]}}
    job = jobs.submit("collections", {**request, "nonce": uuid.uuid4().hex}, "in-flight").job
    work_dir = data_dir / "collector" / "work" / job.id
    work_dir.mkdir(parents=True)
    started = time.monotonic()
    manifest = collect(JobContext(job.id, work_dir, ArtifactStore(str(data_dir / "store")), jobs), request)
    seconds = time.monotonic() - started
    engine.dispose()
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    figures = {
        "seconds": seconds, "cpu_seconds": cpu, "documents": manifest.documents,
        "code_blocks": manifest.code_blocks,
    }  # fmt: skip
    print(json.dumps(figures))


def show(name: str, figures: dict[str, float], bound: str) -> None:
    print(
        f"{name:<34} {figures['seconds']:8.1f} s  {figures['cpu_seconds']:8.1f} s CPU  "
        f"{figures['peak_bytes'] / 2**20:6.0f} MiB  {figures['documents']:6.0f} documents  "
        f"{figures['code_blocks']:6.0f} code blocks   {bound}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--no-handbook", action="store_true")
    parser.add_argument("--dump-bytes", type=int, default=10**9)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), json.loads(arguments.child[1]))
        return
    corpora = Path(os.environ.get("JEEVES_CORPORA") or ROOT.parent / "shared" / "corpora")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        handbook = corpora / "docs.jenkins.io"
        if handbook.is_dir() and not arguments.no_handbook:
            source = {"type": "tree", "name": "docs.jenkins.io", "location": str(handbook)}
            show("docs.jenkins.io, from nothing", measured(Path(folder) / "a", source), "≤ 60 s on 2 idle cores")
            show("docs.jenkins.io, unchanged", measured(Path(folder) / "a", source), "≤ 5 s")
        if arguments.dump_bytes:
            from stackexchange_dump import write_dump

            for share, name, part in ((_TAG_SHARE, "dump", 1), (1.0, "dump, all wanted", 5)):
                posts = Path(folder) / "Posts.xml"
                write_dump(posts, arguments.dump_bytes // part, wanted_share=share)
                size = posts.stat().st_size
                source = {"type": "stackexchange-file", "name": "so", "location": str(posts), "tags": ["jenkins"]}
                figures = measured(Path(folder) / name, source)
                rate = size / figures["seconds"] / 10**6
                bound = "≥ 20 MB/s, ≤ 300 MiB" if share < 1 else "≤ 300 MiB"
                show(f"{name}: {size / 10**6:.0f} MB, {rate:.1f} MB/s", figures, bound)


if __name__ == "__main__":
    main()
