"""The collector's figures on this machine. Printed, never asserted; `make bench` runs it.

    handbook           all AsciiDoc of docs.jenkins.io, from nothing
    unchanged          the same again
    dump               a synthetic Posts.xml, one question of four about Jenkins

`python tests/bench/bench_collector.py [--no-handbook] [--dump-bytes N]`; the handbook lies where JEEVES_CORPORA says.
Each measurement runs in a process of its own; memory is the peak of that process, pandoc's apart.
"""

import argparse
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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "simulators"))
_QUESTION_BYTES = 9_150
"""Of a question with its two answers, as `write_posts` makes them with bodies of 4,000 characters."""


def measured(data_dir: Path, source: dict[str, Any]) -> dict[str, float]:
    """Collect in a process of its own: seconds, CPU seconds with all children, peak bytes, documents."""
    command = [sys.executable, __file__, "--child", str(data_dir), json.dumps(source)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


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
        "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": own.ru_maxrss * 1024, "documents": manifest.documents,
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
            from remotes import write_posts

            posts = Path(folder) / "Posts.xml"
            write_posts(posts, arguments.dump_bytes // _QUESTION_BYTES, body_characters=4000)
            size = posts.stat().st_size
            source = {"type": "stackexchange-file", "name": "so", "location": str(posts), "tags": ["jenkins"]}
            figures = measured(Path(folder) / "b", source)
            rate = size / figures["seconds"] / 10**6
            show(f"Posts.xml of {size / 10**6:.0f} MB, {rate:.0f} MB/s", figures, "≥ 20 MB/s, ≤ 300 MiB")


if __name__ == "__main__":
    main()
