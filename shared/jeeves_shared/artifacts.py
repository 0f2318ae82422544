"""The artifact store: content-addressed files, and the manifests that name them.

Layout, below the store's address::

    blobs/<first 2 digits>/<sha256>/<name>     bytes; written to a temporary name, then renamed
    manifests/<kind>/<id>.json                 manifests; written once, never changed

A local folder by default; any fsspec address (`s3://…`) by configuration. Readers always get a local path whose bytes
match their sha256. Nothing is ever unpickled.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from pydantic import TypeAdapter, ValidationError

from jeeves_shared.contracts.base import Contract, canonical_json
from jeeves_shared.contracts.manifests import ArtifactRef, Manifest
from jeeves_shared.errors import ArtifactCorrupt, Conflict, NotFound, StorageFull

M = TypeVar("M", bound=Contract)
_CHUNK_BYTES = 1 << 20


def file_sha256(path: Path) -> str:
    """sha256 of a file, 64 hexadecimal digits, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Turn a full disk into `StorageFull`.

    Args:
        where: what was being written, for the message.

    Raises:
        StorageFull: no space, over the quota, or over the process's limit for one file.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull(f"No space left while writing {where}: free some space and start again.") from exc
        raise


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; renamed onto it, after fsync, when the block ends well, else removed.

    Raises:
        StorageFull: no space left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with storage_errors(target.name):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(target: Path, data: bytes) -> None:
    """Write a whole file or nothing.

    Raises:
        StorageFull: no space left.
    """
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


class ArtifactStore:
    """Artifacts and manifests at one fsspec address.

    Args:
        url: a folder, or an fsspec address.
        cache_dir: where remote artifacts are kept for reading; only used when the store is not a folder.
    """

    def __init__(self, url: str, cache_dir: Path | None = None) -> None:
        # No cache of listings: jobs in other processes write to the same store.
        self._fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._root = str(root).rstrip("/")
        self._local = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))
        self._cache = cache_dir or Path(tempfile.gettempdir()) / "jeeves-artifacts"
        self._verified: dict[Path, tuple[int, int]] = {}

    def put_file(self, path: Path, name: str | None = None) -> ArtifactRef:
        """Copy a file into the store.

        Args:
            path: the file; it stays where it is.
            name: file name for people; the path's own by default.

        Raises:
            StorageFull: no space left.
        """
        ref = ArtifactRef(sha256=file_sha256(path), size_bytes=path.stat().st_size, name=name or path.name)
        target = self._blob(ref)
        if self.contains(ref) and (not self._local or file_sha256(Path(target)) == ref.sha256):
            return ref
        # Not there, or damaged there: a step that runs again heals what it stored before.
        if self._local:
            with atomic_path(Path(target)) as temporary, storage_errors(ref.name):
                shutil.copyfile(path, temporary)
        else:
            temporary_key = f"{target}.{uuid.uuid4().hex}.tmp"
            self._fs.put_file(str(path), temporary_key)
            self._fs.mv(temporary_key, target)
        return ref

    def put_bytes(self, data: bytes, name: str) -> ArtifactRef:
        """Store bytes under a name.

        Raises:
            StorageFull: no space left.
        """
        with tempfile.TemporaryDirectory(prefix="jeeves-") as folder, storage_errors(name):
            path = Path(folder) / "artifact"
            path.write_bytes(data)
            return self.put_file(path, name)

    def path(self, ref: ArtifactRef) -> Path:
        """Local path of an artifact whose bytes were checked against its sha256.

        Raises:
            NotFound: the store does not hold it.
            ArtifactCorrupt: its bytes differ.
        """
        target = self._blob(ref)
        if self._local:
            path = Path(target)
            if not path.is_file():
                raise NotFound(f"Artifact {ref.name} ({ref.sha256[:12]}…) is not in the store: run its step again.")
        else:
            path = self._cache / ref.sha256 / ref.name
            if not path.is_file():
                if not self._fs.exists(target):
                    raise NotFound(f"Artifact {ref.name} ({ref.sha256[:12]}…) is not in the store.")
                with atomic_path(path) as temporary:
                    self._fs.get_file(target, str(temporary))
        self._verify(path, ref)
        return path

    def read_bytes(self, ref: ArtifactRef) -> bytes:
        """The bytes of an artifact, checked.

        Raises:
            NotFound, ArtifactCorrupt: as `path`.
        """
        return self.path(ref).read_bytes()

    def holds_all(self, manifest: Contract) -> bool:
        """True if every artifact that a manifest names is in the store, at its size."""
        return all(self.contains(ref) for ref in _refs(manifest))

    def contains(self, ref: ArtifactRef) -> bool:
        """True if the store holds a file of that identity and size."""
        target = self._blob(ref)
        return bool(self._fs.exists(target)) and int(self._fs.size(target)) == ref.size_bytes

    def put_manifest(self, manifest: Manifest) -> None:
        """Store a manifest under its kind and id.

        Storing it again is allowed; changing it is not, unless artifacts of the stored one are gone: then the step ran
        again, and what it made now (times, measured figures) takes the place of what nobody can read any more.

        Raises:
            Conflict: another manifest, complete, has that id.
        """
        target = f"{self._root}/manifests/{manifest.kind}/{manifest.id}.json"
        stored = self.find_manifest(type(manifest), manifest.kind, manifest.id)
        if stored is not None:
            if _without_times(stored) != _without_times(manifest):
                raise Conflict(
                    f"Manifest {manifest.id} is already stored with other content: its identity lacks an input, or two "
                    "processes made it at once. Run the step again; it will find the stored one."
                )
            return
        data = canonical_json(manifest).encode("utf-8")
        if self._local:
            write_atomic(Path(target), data)
        else:
            self._fs.pipe_file(target, data)

    def get_manifest(self, manifest_type: type[M], kind: str, manifest_id: str) -> M:
        """Read a manifest.

        Raises:
            NotFound: none with that id.
            ArtifactCorrupt: the stored text is not such a manifest.
        """
        target = f"{self._root}/manifests/{kind}/{manifest_id}.json"
        if "/" in manifest_id or not self._fs.exists(target):
            raise NotFound(f"No {kind} {manifest_id}.")
        try:
            return TypeAdapter(manifest_type).validate_json(self._fs.cat_file(target))
        except ValidationError as exc:
            raise ArtifactCorrupt(f"Manifest {manifest_id} cannot be read: remove {target} and run its step.") from exc

    def find_manifest(self, manifest_type: type[M], kind: str, manifest_id: str) -> M | None:
        """The manifest, or None if there is none with that id whose artifacts are all present."""
        try:
            manifest = self.get_manifest(manifest_type, kind, manifest_id)
        except NotFound:
            return None
        return manifest if self.holds_all(manifest) else None

    def list_manifests(self, manifest_type: type[M], kind: str) -> list[M]:
        """All manifests of a kind, sorted by id."""
        folder = f"{self._root}/manifests/{kind}"
        if not self._fs.exists(folder):
            return []
        names = sorted(str(path).rsplit("/", 1)[-1] for path in self._fs.ls(folder, detail=False))
        ids = [name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")]
        return [self.get_manifest(manifest_type, kind, manifest_id) for manifest_id in ids]

    def _blob(self, ref: ArtifactRef) -> str:
        name = ref.name.replace("/", "_") or "artifact"
        return f"{self._root}/blobs/{ref.sha256[:2]}/{ref.sha256}/{name}"

    def _verify(self, path: Path, ref: ArtifactRef) -> None:
        stat = path.stat()
        seen = (stat.st_size, stat.st_mtime_ns)
        if self._verified.get(path) == seen:
            return
        if stat.st_size != ref.size_bytes or file_sha256(path) != ref.sha256:
            raise ArtifactCorrupt(
                f"{ref.name} does not match its sha256 {ref.sha256[:12]}…: delete {path} and run its step again."
            )
        self._verified[path] = seen


def _without_times(manifest: Contract) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude={"created_at"})


def _refs(value: Any) -> Iterator[ArtifactRef]:
    if isinstance(value, ArtifactRef):
        yield value
    elif isinstance(value, Contract):
        for name in type(value).model_fields:
            yield from _refs(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _refs(item)
