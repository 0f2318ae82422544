"""What pandoc leaves behind: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jeeves_collector.asciidoc.pandoc import PandocPool, find_pandoc

CONVERT = """
import os, sys
from jeeves_collector.asciidoc.pandoc import PandocPool, find_pandoc
with PandocPool(find_pandoc(), 1, 60) as pool:
    pool.convert("text", heading=False)
    print("converted", flush=True)
    sys.stdin.read()
"""


def test_no_temporary_file_outlives_the_first_piece(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", CONVERT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "converted\n"
        assert list(tmp_path.rglob("*")) == []
        job.kill()


def test_a_process_that_never_answered_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with PandocPool(find_pandoc(), 1, 60) as pool:
        worker = pool._workers[0]
        worker._start()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
