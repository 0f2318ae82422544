"""Who may import whom, and what each package may need."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

SERVICES = ("collector", "curator", "trainer", "gateway")
HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "llama_cpp")


def command(name: str) -> str:
    """A program of this virtual environment, else of the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: run `make install-test`")
    return found


def test_import_rules(repository: Path) -> None:
    done = subprocess.run([command("lint-imports")], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_import_rules_have_no_exceptions(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    assert "ignore_imports" not in text


def empty_environment(folder: Path) -> Path:
    """A new virtual environment; its Python."""
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    else:
        venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


def engine_wheel_folders() -> list[str]:
    """Where the installer keeps the engine that it compiled; no package index has it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jeeves" / "wheels"
    roots = [cache, *(Path(given) for given in [os.environ.get("JEEVES_ENGINE_WHEELS")] if given)]
    return sorted({str(wheel.parent) for root in roots for wheel in root.rglob("llama_cpp_python-*.whl")})


def install(python: Path, repository: Path, *what: str) -> None:
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    links = [*os.environ.get("PIP_FIND_LINKS", "").split(), *engine_wheel_folders()]
    options = ["--quiet", "--constraint", str(repository / "deploy" / "constraints.txt")]
    options += [part for link in links for part in ("--find-links", link)]
    done = subprocess.run([*pip, *options, *what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_alone(python: Path, code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(python), "-c", code],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_contracts_need_pydantic_only(repository: Path, tmp_path: Path) -> None:
    """Clients of the contracts, such as a script on a Jenkins agent, install nothing else."""
    python = empty_environment(tmp_path / "venv")
    install(python, repository, "pydantic")
    code = (
        "import importlib, pkgutil, sys\n"
        "before = set(sys.modules)\n"
        "import jeeves_shared.contracts as contracts\n"
        "for module in pkgutil.walk_packages(contracts.__path__, 'jeeves_shared.contracts.'):\n"
        "    importlib.import_module(module.name)\n"
        "roots = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(n for n in roots - set(sys.stdlib_module_names) if not n.startswith('_sysconfig')))\n"
    )
    roots = run_alone(python, code, tmp_path, PYTHONPATH=str(repository / "shared")).split()
    allowed = {
        "jeeves_shared",
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "typing_inspection",
    }
    assert "jeeves_shared" in roots
    assert set(roots) <= allowed


LOADED = (
    "import importlib, sys\n"
    "importlib.import_module('jeeves_{service}.app')\n"
    "foreign = lambda name: name.startswith('jeeves_') and name not in ('jeeves_shared', 'jeeves_{service}')\n"
    "roots = {{name.partition('.')[0] for name in sys.modules}}\n"
    f"print(sorted(name for name in roots if name in {HEAVY!r} or foreign(name)))\n"
)


@pytest.mark.parametrize("service", SERVICES)
def test_http_process_stays_light(service: str, tmp_path: Path) -> None:
    """Even where everything is installed: what is heavy is loaded by jobs and engines, in processes of their own."""
    assert run_alone(Path(sys.executable), LOADED.format(service=service), tmp_path) == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("service", ["gateway", "collector", "curator"])
def test_service_installs_alone_and_without_torch(service: str, repository: Path, tmp_path: Path) -> None:
    """From copies outside of the tree, so that nothing is found by accident."""
    ignore = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "tests")
    shared = shutil.copytree(repository / "shared", tmp_path / "shared", ignore=ignore)
    own = shutil.copytree(repository / "services" / service, tmp_path / service, ignore=ignore)
    python = empty_environment(tmp_path / "venv")
    install(python, repository, str(shared), str(own))
    assert run_alone(python, LOADED.format(service=service), tmp_path) == "[]"
    torch = (
        "import importlib.util as u; print(*[n for n in ('torch', 'transformers', 'peft', 'trl') if u.find_spec(n)])"
    )
    assert run_alone(python, torch, tmp_path) == ""
