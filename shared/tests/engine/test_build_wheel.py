"""What the engine's build script does without compiling: refusals, and the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[3] / "deploy" / "engine" / "build_wheel.py"

pytestmark = pytest.mark.skipif(not BUILD.is_file(), reason="needs the source tree")


def build(cache: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BUILD, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **environment},
    )


def test_no_compiler(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    done = build(tmp_path, PATH=str(empty), CC="", CXX="")
    assert done.returncode == 11
    assert "no C++ compiler" in done.stderr and "remedy: install one: apt install g++" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_cache_that_cannot_be_written() -> None:
    done = build(Path("/proc/nowhere"))
    assert done.returncode == 12
    assert "remedy:" in done.stderr and "Traceback" not in done.stderr


def test_wheel_in_the_cache_is_taken_at_once(tmp_path: Path) -> None:
    program = "import engine_recipe as r, sys; print(r.cache_key(sys.argv[1] == 'portable'), r.wheel_name())"
    keys = []
    for kind in ("native", "portable"):
        key, name = subprocess.run(
            [sys.executable, "-c", program, kind], capture_output=True, text=True, check=True, cwd=BUILD.parent
        ).stdout.split()
        wheel = tmp_path / "jeeves" / "wheels" / key / name
        wheel.parent.mkdir(parents=True)
        wheel.write_text(kind)
        done = build(tmp_path, f"--{kind}", "--out", str(tmp_path / kind), PATH="/nonexistent")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(tmp_path / kind / name)
        assert (tmp_path / kind / name).read_text() == kind
        assert [file.name for file in (tmp_path / kind).iterdir()] == [name], "no partial file stays"
        keys.append(key)
    assert len(set(keys)) == 2, "a wheel for this processor is never taken for a portable one"
