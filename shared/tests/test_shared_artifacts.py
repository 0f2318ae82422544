"""The artifact store: whole or not at all, and what is read is what was written."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jeeves_shared.artifacts import ArtifactStore, atomic_path, file_sha256, write_atomic
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest
from jeeves_shared.errors import ArtifactCorrupt, Conflict, NotFound, StorageFull

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)


def collection(manifest_id: str, *shards: ArtifactRef, documents: int = 1) -> CollectionManifest:
    return CollectionManifest(
        id=manifest_id,
        source_name="docs",
        recipe_sha256="ef" * 32,
        shards=shards,
        documents=documents,
        code_blocks=0,
        drops={},
        created_at=NOW,
    )


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"))


def test_file_round_trip(store: ArtifactStore, tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(os.urandom(3 << 20))
    ref = store.put_file(source)
    assert ref == ArtifactRef(sha256=file_sha256(source), size_bytes=3 << 20, name="model.gguf")
    assert source.exists()
    assert store.contains(ref)
    assert store.path(ref).name == "model.gguf"
    assert store.read_bytes(ref) == source.read_bytes()
    assert store.put_file(source) == ref


def test_bytes_and_names(store: ArtifactStore) -> None:
    ref = store.put_bytes("凭据".encode(), "a/b/../c.md")
    assert ref.sha256 == hashlib.sha256("凭据".encode()).hexdigest()
    assert store.read_bytes(ref).decode() == "凭据"
    assert ".." not in store.path(ref).parts


def test_missing_artifact_is_not_found(store: ArtifactStore) -> None:
    ref = ArtifactRef(sha256="ab" * 32, size_bytes=1, name="x")
    assert not store.contains(ref)
    with pytest.raises(NotFound, match="run its step again"):
        store.path(ref)


def test_one_corrupt_byte_is_found_and_healed_by_running_again(store: ArtifactStore, tmp_path: Path) -> None:
    data = os.urandom(4096)
    ref = store.put_bytes(data, "x.bin")
    path = store.path(ref)
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    with pytest.raises(ArtifactCorrupt, match="delete"):
        store.path(ref)
    with pytest.raises(ArtifactCorrupt):
        ArtifactStore(str(tmp_path / "store")).read_bytes(ref)
    store.put_bytes(data, "x.bin")
    assert store.read_bytes(ref) == data


def test_truncated_file_is_corrupt(store: ArtifactStore) -> None:
    ref = store.put_bytes(b"12345678", "x.bin")
    os.truncate(store.path(ref), 4)
    assert not store.contains(ref)
    with pytest.raises(ArtifactCorrupt):
        store.path(ref)


def test_many_writers_of_the_same_bytes(store: ArtifactStore, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    failures: list[BaseException] = []

    def put() -> None:
        try:
            assert store.read_bytes(store.put_bytes(data, "x.bin")) == data
        except BaseException as exc:  # noqa: BLE001 - carried to the test's own thread
            failures.append(exc)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(files_below(tmp_path / "store")) == 1


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomic(target, b"old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("in the middle")
    assert target.read_bytes() == b"old"
    assert files_below(tmp_path) == [target]


def test_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    """kill -9 in the middle of a copy: the artifact is not there, and the next writer is not disturbed."""
    source = tmp_path / "big.bin"
    with source.open("wb") as file:
        file.truncate(1 << 30)
    code = textwrap.dedent("""
        import sys
        from jeeves_shared import artifacts
        artifacts.file_sha256 = lambda path: "ab" * 32  # the copy is what this is about
        artifacts.ArtifactStore(sys.argv[1]).put_file(__import__("pathlib").Path(sys.argv[2]))
    """)
    store_dir = tmp_path / "store"
    writer = subprocess.Popen([sys.executable, "-c", code, str(store_dir), str(source)])
    deadline = time.monotonic() + 30
    while not (partial := files_below(store_dir)):
        assert writer.poll() is None, "the writer was faster than the test"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    ref = ArtifactRef(sha256="ab" * 32, size_bytes=1 << 30, name="big.bin")
    store = ArtifactStore(str(store_dir))
    if not store.contains(ref):
        assert all(path.name.startswith(".") for path in partial if path.exists())
        with pytest.raises(NotFound):
            store.path(ref)
    other = store.put_bytes(b"next", "big.bin")
    assert store.read_bytes(other) == b"next"


def test_limit_on_file_size_counts_as_full(tmp_path: Path) -> None:
    """Every user can meet this one: a limit of the process."""
    code = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from jeeves_shared.artifacts import ArtifactStore
        from jeeves_shared.errors import StorageFull
        source = Path(sys.argv[1]) / "source.bin"
        source.write_bytes(b"x" * 200_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            ArtifactStore(sys.argv[1] + "/store").put_file(source)
        except StorageFull as exc:
            print(exc.detail)
    """)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "No space left while writing source.bin: free some space" in done.stdout
    assert files_below(tmp_path / "store") == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; the limit on file size stands in for it")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no mounts here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    store = ArtifactStore(str(small_disk / "store"))
    kept = store.put_bytes(b"x" * 1000, "small.bin")
    big = tmp_path / "big.bin"
    big.write_bytes(b"x" * (2 << 20))
    with pytest.raises(StorageFull, match=r"No space left while writing big\.bin"):
        store.put_file(big)
    assert store.read_bytes(kept) == b"x" * 1000
    assert len(files_below(small_disk)) == 1, "half a file stayed behind"
    with pytest.raises(StorageFull):
        write_atomic(small_disk / "state.json", b"x" * (2 << 20))


def test_manifest_round_trip(store: ArtifactStore) -> None:
    ref = store.put_bytes(b"{}\n", "shard.jsonl")
    manifest = collection("collection-1", ref)
    assert store.find_manifest(CollectionManifest, "collection", "collection-1") is None
    store.put_manifest(manifest)
    store.put_manifest(manifest)
    assert store.get_manifest(CollectionManifest, "collection", "collection-1") == manifest
    assert store.find_manifest(CollectionManifest, "collection", "collection-1") == manifest
    store.put_manifest(collection("collection-0", ref))
    assert [item.id for item in store.list_manifests(CollectionManifest, "collection")] == [
        "collection-0",
        "collection-1",
    ]
    assert store.list_manifests(CollectionManifest, "index") == []


def test_manifest_made_at_another_time_is_the_same(store: ArtifactStore) -> None:
    manifest = collection("collection-1", store.put_bytes(b"{}\n", "shard.jsonl"))
    store.put_manifest(manifest)
    store.put_manifest(manifest.model_copy(update={"created_at": NOW + timedelta(days=1)}))
    assert store.get_manifest(CollectionManifest, "collection", "collection-1").created_at == NOW


def test_manifest_does_not_change(store: ArtifactStore) -> None:
    ref = store.put_bytes(b"{}\n", "shard.jsonl")
    store.put_manifest(collection("collection-1", ref))
    with pytest.raises(Conflict, match="other content"):
        store.put_manifest(collection("collection-1", ref, documents=2))


def test_manifest_whose_artifacts_are_gone_is_not_found_and_can_be_made_again(store: ArtifactStore) -> None:
    ref = store.put_bytes(b"{}\n", "shard.jsonl")
    store.put_manifest(collection("collection-1", ref))
    store.path(ref).unlink()
    assert store.find_manifest(CollectionManifest, "collection", "collection-1") is None
    again = collection("collection-1", store.put_bytes(b"{ }\n", "shard.jsonl"))
    store.put_manifest(again)
    assert store.find_manifest(CollectionManifest, "collection", "collection-1") == again


def test_unreadable_manifest_says_what_to_do(store: ArtifactStore, tmp_path: Path) -> None:
    path = tmp_path / "store" / "manifests" / "collection" / "collection-1.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"kind": "collection"')
    with pytest.raises(ArtifactCorrupt, match="remove"):
        store.get_manifest(CollectionManifest, "collection", "collection-1")


@pytest.mark.parametrize("wrong", ["../../../etc/passwd", "a/b", "unknown"])
def test_manifest_ids_are_no_paths(wrong: str, store: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        store.get_manifest(CollectionManifest, "collection", wrong)


@pytest.mark.slow
def test_store_in_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same store at an S3 address; moto's server speaks the real protocol."""
    pytest.importorskip("s3fs", reason="needs jeeves-shared[s3]")
    server = pytest.importorskip("moto.server", reason="needs moto[server]")
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        boto3.client("s3").create_bucket(Bucket="jeeves")
        store = ArtifactStore("s3://jeeves/store", tmp_path / "cache")
        other = ArtifactStore("s3://jeeves/store", tmp_path / "other")
        data = os.urandom(100_000)
        assert other.list_manifests(CollectionManifest, "collection") == []
        ref = store.put_bytes(data, "x.bin")
        store.put_manifest(collection("collection-1", ref))
        assert other.read_bytes(ref) == data
        assert [item.id for item in other.list_manifests(CollectionManifest, "collection")] == ["collection-1"]
        # What one process writes, another sees at once: no listing is kept.
        store.put_manifest(collection("collection-2", ref))
        assert other.find_manifest(CollectionManifest, "collection", "collection-2") is not None
        cached = other.path(ref)
        cached.write_bytes(b"y" + data[1:])
        with pytest.raises(ArtifactCorrupt):
            other.path(ref)
        with pytest.raises(NotFound):
            other.path(ref.model_copy(update={"sha256": "ab" * 32}))
        keys = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket="jeeves")["Contents"]]
        assert not [key for key in keys if key.endswith(".tmp")]
    finally:
        running.stop()
