#!/usr/bin/env python3
"""Build the engine: one wheel of llama-cpp-python that also carries llama-server and the converter.

The Python binding, the inference server, the quantizer and ``convert_hf_to_gguf.py`` all come
from one sdist (pinned by hash), so that what is converted, quantized, evaluated and served is
read by one version of llama.cpp. Layout inside the wheel::

    llama_cpp/                      the binding, unchanged
    llama_cpp/lib/lib*.so           libllama, libggml*, libmtmd, libllama-common, ... (RPATH $ORIGIN)
    llama_cpp/lib/llama-server      the inference server
    llama_cpp/convert/              convert_hf_to_gguf.py, convert_lora_to_gguf.py, conversion/, gguf-py/

The finished wheel is kept in ``${XDG_CACHE_HOME:-~/.cache}/jeeves/wheels/<key>/``; the key names
the version, the options and, for ``--native``, the processor, so a second run costs nothing. Work
happens in ``<key>.build`` beside it; an interrupted build goes on where it stopped. ``ccache`` is
used where it is installed.

Needs Linux, Python 3.11+, a C++ compiler, and a package index that pip can reach. Standard
library only. Progress goes to stderr; the last line on stdout is the wheel's path.

Exit codes::

    0 built or found     11 no C++ compiler       14 compilation failed      17 not Linux
    2 wrong usage        12 disk full             15 no venv/pip/cmake       130, 143 interrupted
    10 wrong Python      13 sdist not available   16 the wheel does not load
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (this is the message an old interpreter should print)
    sys.stderr.write(
        "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "\n"
        "remedy: run it with a newer interpreter, such as: uv run --python 3.12 " + sys.argv[0] + "\n"
    )
    sys.exit(10)

import argparse
import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

from engine_console import BuildError, Progress, log_tail, run
from engine_recipe import (
    BUILD_TOOLS,
    CONVERTER,
    LOCAL_VERSION,
    SDIST_NAME,
    SDIST_SHA256,
    TARGETS,
    VERSION,
    cache_key,
    options_for,
    wheel_name,
)

NEEDED_FREE_BYTES = 3 * 1024**3
BYTES_PER_COMPILER = 1024**3  # the largest source of llama-server takes about 0.9 GiB in g++ 12


def check_machine(work: Path) -> None:
    """Refuse early what would fail late.

    Raises:
        BuildError: no compiler, or too little free space where the build happens.
    """
    for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++"))):
        given = os.environ.get(variable, "").split()
        if not any(shutil.which(name) for name in (given[:1] or names)):
            raise BuildError(
                11,
                f"no C++ compiler found ({variable}; looked for {', '.join(given[:1] or names)})",
                "install one: apt install g++ | dnf install gcc-c++ | apk add g++ libgomp; or set CC and CXX",
            )
    free = shutil.disk_usage(work).free
    if free < NEEDED_FREE_BYTES:
        raise BuildError(
            12,
            f"{free / 1024**3:.1f} GB free in {work}, {NEEDED_FREE_BYTES / 1024**3:.0f} GB needed to compile",
            "free some space, or set XDG_CACHE_HOME to a folder on a larger disk",
        )


def prepare_tools(work: Path, log: Path, progress: Progress) -> Path:
    """Make the build environment (cmake, ninja, wheel), or reuse a finished one.

    Returns:
        Its ``bin`` folder.

    Raises:
        BuildError: neither venv nor uv can make it, or the tools cannot be installed.
    """
    environment, ready = work / "tools", work / "tools.ready"
    if ready.exists() and (environment / "bin" / "python").exists():  # its interpreter may be gone by now
        return environment / "bin"
    ready.unlink(missing_ok=True)
    shutil.rmtree(environment, ignore_errors=True)

    def tick(_: str) -> None:
        progress.update("tools")

    tick("")
    uv = shutil.which("uv")
    made = run([sys.executable, "-m", "venv", environment], log, tick, clean_environment())
    if made != 0 and uv:
        shutil.rmtree(environment, ignore_errors=True)
        made = run([uv, "venv", "--seed", "--python", sys.executable, environment], log, tick, clean_environment())
    if made != 0:
        remedy = "install it: apt install python3-venv; or put uv on the PATH (https://docs.astral.sh/uv/)"
        raise BuildError(15, f"no virtual environment can be made with {sys.executable}", remedy)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    if run([*pip, "install", "--only-binary", ":all:", *BUILD_TOOLS], log, tick, clean_environment()) != 0:
        raise BuildError(
            15,
            f"cmake and ninja could not be installed:\n{log_tail(log)}",
            "check the network and pip's settings (PIP_INDEX_URL, PIP_PROXY, PIP_CERT), then run it again",
        )
    ready.touch()
    return environment / "bin"


def clean_environment() -> dict[str, str]:
    """This process's environment without what would make a child use another Python or other flags."""
    dropped = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CMAKE_ARGS", "PIP_REQUIRE_VIRTUALENV", "PIP_USER"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"NINJA_STATUS": "[%f/%t] ", "PYTHONUNBUFFERED": "1"}


def fetch_sources(work: Path, tools: Path, log: Path, progress: Progress) -> Path:
    """Download the pinned sdist through pip (its index, proxy and mirrors apply) and unpack it.

    Returns:
        The folder of llama-cpp-python's sources.

    Raises:
        BuildError: it cannot be had, or is not the file whose hash is pinned.
    """
    sources = work / "sources"
    unpacked = sources / f"llama_cpp_python-{VERSION}"
    if unpacked.exists():
        return unpacked
    archive, requirement = work / SDIST_NAME, work / "requirement.txt"
    requirement.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    command = [
        tools / "python", "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--no-binary",
        "llama-cpp-python", "--no-build-isolation", "--require-hashes", "-r", requirement, "-d", work,
    ]  # fmt: skip
    progress.update("download")
    if run(command, log, lambda _: progress.update("download"), clean_environment()) != 0 or not archive.exists():
        raise BuildError(
            13,
            f"{SDIST_NAME} could not be downloaded:\n{log_tail(log)}",
            "check the network, or let PIP_FIND_LINKS name a folder that holds this file",
        )
    progress.update("unpack")
    partial = work / "sources.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with tarfile.open(archive) as bundle:
        if hasattr(tarfile, "data_filter"):
            bundle.extractall(partial, filter="data")
        else:  # Python 3.11.0 to 3.11.3; the archive's hash is pinned
            bundle.extractall(partial)  # noqa: S202
    partial.rename(sources)
    return unpacked


def compiler_count() -> int:
    """Compilers to run at once: one a core, as far as memory reaches."""
    cores = len(os.sched_getaffinity(0))
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, StopIteration):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        available = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemAvailable")) * 1024
    return max(1, min(cores, available // BYTES_PER_COMPILER))


def compile_engine(sources: Path, work: Path, tools: Path, *, portable: bool, log: Path, progress: Progress) -> Path:
    """Compile the libraries and llama-server; objects of an interrupted build are kept.

    Returns:
        The folder with the built files.

    Raises:
        BuildError: the compiler or the linker failed.
    """
    build = work / "build"
    environment = clean_environment()
    environment["PATH"] = f"{tools}{os.pathsep}{environment.get('PATH', os.defpath)}"
    progress.update("configure")
    command = [tools / "cmake", "-G", "Ninja", "-S", sources / "vendor" / "llama.cpp", "-B", build]
    if run([*command, *options_for(portable)], log, lambda _: progress.update("configure"), environment) != 0:
        remedy = f"read {log}; a compiler that supports C++17 and OpenMP is needed (g++ >= 9, clang >= 10 + libomp)"
        raise BuildError(14, f"CMake could not configure llama.cpp:\n{log_tail(log)}", remedy)
    state = (0, 0)

    def on_line(line: str) -> None:
        nonlocal state
        if step := re.match(r"\[(\d+)/(\d+)\]", line):
            state = (int(step[1]), int(step[2]))
        progress.update("compile", *state)

    jobs = str(compiler_count())
    if run([tools / "ninja", "-C", build, "-j", jobs, *TARGETS], log, on_line, environment) != 0:
        tail = log_tail(log)
        if "No space left on device" in tail:
            raise BuildError(
                12, f"the disk is full:\n{tail}", f"free some space in {work}; a new run goes on from here"
            )
        remedy = f"read {log}; if the compiler was killed, memory ran out: 1 GB a core is needed. A new run goes on"
        raise BuildError(14, f"llama.cpp could not be compiled:\n{tail}", remedy)
    return build / "bin"


def stage_files(sources: Path, built: Path, work: Path) -> Path:
    """Lay out the wheel's content: binding, libraries, server, converter, licences, metadata."""
    stage = work / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    package, upstream = stage / "llama_cpp", sources / "vendor" / "llama.cpp"
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "lib")
    shutil.copytree(sources / "llama_cpp", package, ignore=skipped)
    (package / "lib").mkdir()
    for file in sorted(built.iterdir()):
        if file.is_file() and not file.is_symlink() and (file.suffix == ".so" or file.name == "llama-server"):
            shutil.copy(file, package / "lib" / file.name)
    for name in CONVERTER:
        target = package / "convert" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (upstream / name).is_dir():
            shutil.copytree(upstream / name, target, ignore=skipped)
        else:
            shutil.copy(upstream / name, target)
    shutil.copy(upstream / "LICENSE", package / "convert" / "LICENSE")
    information = stage / f"llama_cpp_python-{LOCAL_VERSION}.dist-info"
    licences = information / "licenses"
    licences.mkdir(parents=True)
    shutil.copy(sources / "LICENSE.md", licences / "LICENSE.md")
    shutil.copy(upstream / "LICENSE", licences / "LICENSE-llama.cpp")
    for file in (upstream / "licenses").glob("LICENSE*"):
        shutil.copy(file, licences / file.name)
    metadata = (sources / "PKG-INFO").read_text(encoding="utf-8")
    metadata = metadata.replace(f"\nVersion: {VERSION}\n", f"\nVersion: {LOCAL_VERSION}\n", 1)
    (information / "METADATA").write_text(metadata, encoding="utf-8")
    tag = f"py3-none-linux_{platform.machine()}"
    header = f"Wheel-Version: 1.0\nGenerator: jeeves build_wheel\nRoot-Is-Purelib: false\nTag: {tag}\n"
    (information / "WHEEL").write_text(header, encoding="utf-8")
    return stage


def pack(stage: Path, work: Path, tools: Path, log: Path, progress: Progress) -> Path:
    """Check that the staged files load, then zip them.

    Raises:
        BuildError: the server does not start, a library does not load, or packing failed.
    """
    library = stage / "llama_cpp" / "lib"
    load = "import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]"
    names = [library / f"lib{name}.so" for name in ("ggml", "llama", "mtmd")]
    for command in ([library / "llama-server", "--version"], [tools / "python", "-c", load, *names]):
        if run(command, log, lambda _: progress.update("check"), clean_environment()) != 0:
            remedy = f"read {log}; run again with --force; if a library is missing, install it (libgomp1, libstdc++6)"
            raise BuildError(16, f"the built engine does not load:\n{log_tail(log)}", remedy)
    target = work / "wheel"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    environment = clean_environment() | {"SOURCE_DATE_EPOCH": "1700000000"}
    packing = [tools / "python", "-m", "wheel", "pack", stage, "--dest-dir", target]
    wheels = [] if run(packing, log, lambda _: progress.update("pack"), environment) else list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise BuildError(16, f"the wheel could not be packed:\n{log_tail(log)}", f"read {log}; run it with --force")
    return wheels[0]


def place(source: Path, target: Path) -> None:
    """Copy a file so that its final name appears only when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        shutil.copyfile(source, partial)
        with partial.open("rb+") as copied:
            os.fsync(copied.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, so that two builds of one wheel never share a work folder."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def build(portable: bool, force: bool) -> Path:
    """Return the cached wheel, or build it into the cache.

    Raises:
        BuildError: with exit code and remedy.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jeeves" / "wheels"
    key = cache_key(portable)
    wheel = cache / key / wheel_name()
    if wheel.exists() and not force:
        print(f"engine: already built ({wheel.stat().st_size / 1e6:.1f} MB)", file=sys.stderr)
        return wheel
    work = cache / f"{key}.build"
    progress = Progress()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone(cache / f"{key}.lock"):
            if wheel.exists() and not force:
                return wheel
            if force:
                shutil.rmtree(work, ignore_errors=True)
            work.mkdir(exist_ok=True)
            check_machine(work)
            log = work / "build.log"
            tools = prepare_tools(work, log, progress)
            sources = fetch_sources(work, tools, log, progress)
            built = compile_engine(sources, work, tools, portable=portable, log=log, progress=progress)
            place(pack(stage_files(sources, built, work), work, tools, log, progress), wheel)
            shutil.rmtree(work, ignore_errors=True)
    except OSError as exc:
        remedy = "free some space or check the folder's permissions, or set XDG_CACHE_HOME to another folder"
        raise BuildError(12, f"the build folder {work} cannot be written: {exc}", remedy) from exc
    finally:
        progress.clear()
    print(f"engine: built in {progress.elapsed}, {wheel.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return wheel


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build the wheel of the inference engine, once a machine.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="copy the wheel to this folder as well")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--native", action="store_true", help="for this machine's processor (default)")
    kind.add_argument("--portable", action="store_true", help="for any x86-64-v3 processor: container images")
    parser.add_argument("--force", action="store_true", help="build from empty even if the cache has it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if not sys.platform.startswith("linux"):
            remedy = "run it on Linux or in a container, or point the gateway at an engine by URL"
            raise BuildError(17, f"the embedded engine is built for Linux, this is {sys.platform}", remedy)
        wheel = build(portable=arguments.portable, force=arguments.force)
        if arguments.out is not None:
            try:
                place(wheel, arguments.out / wheel.name)
            except OSError as exc:
                raise BuildError(12, f"{arguments.out} cannot be written: {exc}", "choose another --out") from exc
            wheel = arguments.out / wheel.name
    except BuildError as error:
        print(f"error: {error.problem}\nremedy: {error.remedy}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the next run goes on where this one stopped", file=sys.stderr)
        return 130
    print(wheel)
    return 0


if __name__ == "__main__":
    sys.exit(main())
