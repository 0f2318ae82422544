"""A git address as a folder: a shallow clone that later runs bring up to date.

The git program does it, so that proxies, keys and credential helpers of the user work. It never asks anything, runs no
hook of the repository, speaks listed protocols only, and writes links as plain files.
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jeeves_shared.errors import SourceUnusable

_ADDRESS = re.compile(r"^(?:https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:")
_PROTOCOLS = "https:http:ssh:git:file"
_SAFE = (
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "advice.detachedHead=false",
)
_ERROR_CHARACTERS_MAX = 300


@dataclass(frozen=True)
class Checkout:
    """A fetched repository.

    Attributes:
        folder: its files.
        revision: the commit, 40 or 64 hexadecimal digits.
    """

    folder: Path
    revision: str


def is_git_address(location: str) -> bool:
    """True for what git fetches, false for a folder to be read as it is."""
    return bool(_ADDRESS.match(location)) or location.rstrip("/").endswith((".git", ".bundle"))


def fetch(location: str, clones: Path, timeout_seconds: float) -> Checkout:
    """Bring a clone to the present head of its repository.

    Args:
        location: a git address.
        clones: folder of all clones of this installation.
        timeout_seconds: of each git command.

    Raises:
        SourceUnusable: no git program, or the address cannot be fetched.
    """
    if shutil.which("git") is None:
        raise SourceUnusable("git is not installed: install it (Debian: `apt install git`), or give a folder.")
    folder = clones / hashlib.sha256(location.encode()).hexdigest()[:16]
    clones.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.with_suffix(".lock")):
        _remove_stale_locks(folder)
        if not (folder / ".git" / "HEAD").is_file():
            _git(clones, timeout_seconds, "init", "--quiet", str(folder))
        # `--` keeps an address that begins with a hyphen from being an option.
        _git(folder, timeout_seconds, "fetch", "--quiet", "--depth=1", "--no-tags", "--", location, "HEAD", of=location)
        _git(folder, timeout_seconds, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD", of=location)
        _git(folder, timeout_seconds, "clean", "--quiet", "--force", "-d", "-x")
        return Checkout(folder, _git(folder, timeout_seconds, "rev-parse", "HEAD").strip())


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale_locks(folder: Path) -> None:
    # We hold the only lock that counts: git's own are left over from a process that was killed.
    for name in ("index.lock", "shallow.lock", "HEAD.lock", "FETCH_HEAD.lock", "config.lock"):
        (folder / ".git" / name).unlink(missing_ok=True)


def _git(folder: Path, timeout_seconds: float, *arguments: str, of: str = "") -> str:
    settings = [part for setting in _SAFE for part in ("-c", setting)]
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "GIT_ALLOW_PROTOCOL": _PROTOCOLS,
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=20"),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }
    # A session of its own, so that a timeout ends git's own children (ssh, remote-https) too.
    process = subprocess.Popen(
        ["git", *settings, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, error = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired as exc:
        raise SourceUnusable(
            f"git {arguments[0]} of {without_secret(of)} took longer than {timeout_seconds:g} s: check the network, or "
            "raise JEEVES_COLLECTOR_GIT_TIMEOUT_SECONDS."
        ) from exc
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        raise SourceUnusable(
            f"git could not {arguments[0]} {without_secret(of) or folder.name}: {_short(error, of)}. Check "
            "the address, the network, and that this user may read the repository without being asked for a password."
        )
    return output


def _short(error: str, location: str) -> str:
    text = " ".join(error.replace(location, without_secret(location)).split()) if location else " ".join(error.split())
    return text[:_ERROR_CHARACTERS_MAX] or "no message"


def without_secret(location: str) -> str:
    """A git address without user and password, for messages."""
    return re.sub(r"^(\w+://)[^/@]*@", r"\1", location)
