"""Archives as folders: files only, inside the folder, and no more of them than a disk can bear."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from jeeves_collector.drops import DropReason
from jeeves_collector.sources.protocol import Drop
from jeeves_shared.artifacts import file_sha256, storage_errors
from jeeves_shared.errors import SourceUnusable

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BYTES_MAX = 2 * 1024**3
"""Of all unpacked files; the handbook of Jenkins has 60 MB with its images."""
FILES_MAX = 200_000
RATIO_MAX = 200
"""Unpacked bytes for each byte of the archive; text packs to a tenth, a bomb to a thousandth."""
_RATIO_FREE_BYTES = 64 * 1024**2
_CHUNK_BYTES = 1 << 20
_DONE = ".jeeves-unpacked"


@dataclass(frozen=True)
class Unpacked:
    """An archive as a folder.

    Attributes:
        folder: its files.
        sha256: of the archive.
        drops: members that were left out.
    """

    folder: Path
    sha256: str
    drops: tuple[Drop, ...]


@dataclass(frozen=True)
class _Member:
    name: str
    is_file: bool
    is_folder: bool
    open: "_Open"


class _Open:
    """Opens a member when it is wanted."""

    def __init__(
        self, archive: "zipfile.ZipFile | tarfile.TarFile", member: "zipfile.ZipInfo | tarfile.TarInfo"
    ) -> None:
        self._archive = archive
        self._member = member

    def __call__(self) -> IO[bytes] | None:
        if isinstance(self._archive, zipfile.ZipFile) and isinstance(self._member, zipfile.ZipInfo):
            return self._archive.open(self._member)
        if isinstance(self._archive, tarfile.TarFile) and isinstance(self._member, tarfile.TarInfo):
            return self._archive.extractfile(self._member)
        return None


def is_archive(location: Path) -> bool:
    """True for a file whose name says so."""
    return location.name.lower().endswith(_SUFFIXES) and not location.is_dir()


def unpack(location: Path, archives: Path) -> Unpacked:
    """Unpack an archive, or find that it was.

    Args:
        location: of the archive.
        archives: folder of all unpacked archives.

    Raises:
        SourceUnusable: not there, damaged, encrypted, or a bomb.
        StorageFull: no space left.
    """
    if not location.is_file():
        raise SourceUnusable(f"{location} does not exist: give an archive that the collector can read.")
    try:
        digest = file_sha256(location)
    except OSError as exc:
        raise SourceUnusable(f"{location} cannot be read ({exc.strerror}): check its permissions.") from exc
    folder = archives / digest[:32]
    record = folder.with_name(f"{folder.name}{_DONE}")
    if record.is_file():
        return Unpacked(folder, digest, _read_drops(record))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with storage_errors(location.name):
            drops = tuple(_write_members(location, folder))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError) as exc:
        raise SourceUnusable(f"{location} is damaged or of an unknown kind ({exc}): make it again.") from exc
    except RuntimeError as exc:
        # zipfile's way to say that a password is wanted.
        raise SourceUnusable(f"{location} cannot be unpacked ({exc}): give an archive without a password.") from exc
    record.write_text("".join(f"{drop.reason}\t{drop.item}\n" for drop in drops), encoding="utf-8")
    return Unpacked(folder, digest, drops)


def _read_drops(record: Path) -> tuple[Drop, ...]:
    rows = (line.partition("\t") for line in record.read_text(encoding="utf-8").splitlines())
    return tuple(Drop(name, reason) for reason, _, name in rows)


def _write_members(location: Path, folder: Path) -> Iterator[Drop]:
    bound = min(BYTES_MAX, max(_RATIO_FREE_BYTES, location.stat().st_size * RATIO_MAX))
    written = 0
    for number, member in enumerate(_members(location)):
        if number >= FILES_MAX:
            raise SourceUnusable(f"{location} has more than {FILES_MAX} members: give the folder of documents alone.")
        target = _target(folder, member.name)
        if member.is_folder:
            continue
        if target is None:
            yield Drop(_shown(member.name), DropReason.ARCHIVE_ESCAPE.value)
        elif not member.is_file:
            yield Drop(_shown(member.name), DropReason.ARCHIVE_LINK.value)
        elif (source := member.open()) is not None:
            with source:
                written += _copy(source, target, bound - written, location)


def _copy(source: IO[bytes], target: Path, bytes_left: int, location: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > bytes_left:
                raise SourceUnusable(
                    f"{location} unpacks to more than {BYTES_MAX >> 20} MiB, or to more than {RATIO_MAX} times its "
                    "size: give the folder of documents alone."
                )
            file.write(chunk)
    return size


def _target(folder: Path, name: str) -> Path | None:
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or not parts or ".." in parts or "\0" in name or ":" in parts[0]:
        return None
    # A name that is too long for the file system, or a file where a folder has to be, is no path of this archive.
    if any(len(part.encode("utf-8", errors="replace")) > 255 for part in parts):
        return None
    target = folder.joinpath(*parts)
    blocked = target.is_dir() or any(parent.is_file() for parent in target.parents if parent.is_relative_to(folder))
    return None if blocked else target


def _shown(name: str) -> str:
    return name.encode("unicode_escape").decode()[:200]


def _members(location: Path) -> Iterator[_Member]:
    if location.name.lower().endswith(".zip"):
        with zipfile.ZipFile(location) as archive:
            for info in archive.infolist():
                mode = info.external_attr >> 16
                link = mode & 0o170000 == 0o120000
                yield _Member(info.filename, not link and not info.is_dir(), info.is_dir(), _Open(archive, info))
    else:
        with tarfile.open(location, "r|*") as stream:
            for member in stream:
                yield _Member(member.name, member.isreg(), member.isdir(), _Open(stream, member))
