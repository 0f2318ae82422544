"""Finding the engine without loading it."""

import subprocess
import sys
from pathlib import Path

import pytest

from jeeves_shared.engine.binary import (
    BINARY_VARIABLE,
    engine_version,
    find_converter_folder,
    find_engine_binary,
)
from jeeves_shared.engine.errors import EngineBinaryMissing


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A llama_cpp as PyPI's sdist makes it: without server and converter. Importing it would fail."""
    package = tmp_path / "llama_cpp"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    return package


def test_wheel_without_engine(other_package: Path) -> None:
    with pytest.raises(EngineBinaryMissing, match=r"build_wheel\.py"):
        find_engine_binary()
    with pytest.raises(EngineBinaryMissing, match=r"build_wheel\.py"):
        find_converter_folder()


def test_binary_inside_the_package(other_package: Path) -> None:
    server = other_package / "lib" / "llama-server"
    server.parent.mkdir()
    server.touch(mode=0o755)
    assert find_engine_binary() == server
    server.chmod(0o644)
    with pytest.raises(EngineBinaryMissing):
        find_engine_binary()


def test_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "my-server"
    mine.touch(mode=0o755)
    monkeypatch.setenv(BINARY_VARIABLE, str(mine))
    assert find_engine_binary() == mine
    mine.chmod(0o600)
    with pytest.raises(EngineBinaryMissing, match="not an executable"):
        find_engine_binary()


def test_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    for find in (find_engine_binary, find_converter_folder, engine_version):
        with pytest.raises(EngineBinaryMissing, match="not installed"):
            find()


def test_installed_engine_is_found_without_loading_it(engine_binary: Path) -> None:
    program = (
        "import sys; from jeeves_shared.engine import binary, gguf, process;"
        "print(binary.find_engine_binary()); print(binary.find_converter_folder()); print(binary.engine_version());"
        "sys.exit(bool({'llama_cpp', 'numpy', 'torch', 'gguf'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    binary, converter, version = done.stdout.splitlines()
    assert Path(binary) == engine_binary
    assert (Path(converter) / "gguf-py" / "gguf" / "gguf_reader.py").is_file()
    assert (Path(converter) / "conversion" / "__init__.py").is_file()
    assert version.startswith("0.3.36")


def test_server_is_of_the_same_version(engine_binary: Path) -> None:
    done = subprocess.run([engine_binary, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert "llama-cpp-python-0.3.36" in done.stdout + done.stderr
