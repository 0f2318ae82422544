"""Reads the shards of a collection and writes JSON Lines, the same bytes for the same rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from jeeves_shared.artifacts import ArtifactStore, write_atomic
from jeeves_shared.contracts.base import canonical_json
from jeeves_shared.contracts.documents import Document, Pair
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest
from jeeves_shared.errors import ArtifactCorrupt

T = TypeVar("T", bound=BaseModel)


def read_lines(path: Path, row_type: type[T], name: str) -> Iterator[T]:
    """Rows of a JSON Lines file.

    Args:
        path: of the file.
        row_type: of each line.
        name: of the file for people.

    Raises:
        ArtifactCorrupt: a line is no such row; its number is named.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield row_type.model_validate_json(line)
            except ValidationError as exc:
                raise ArtifactCorrupt(
                    f"Line {number} of {name} is no {row_type.__name__}: collect again with this version."
                ) from exc


def read_documents(store: ArtifactStore, collection: CollectionManifest) -> Iterator[Document]:
    """Documents of a collection, by path.

    Raises:
        NotFound, ArtifactCorrupt: a shard is missing or damaged.
    """
    return _read(store, collection.shards, Document)


def read_pairs(store: ArtifactStore, collection: CollectionManifest) -> Iterator[Pair]:
    """Pairs of a collection, as collected.

    Raises:
        NotFound, ArtifactCorrupt: a shard is missing or damaged.
    """
    return _read(store, collection.pair_shards, Pair)


def _read(store: ArtifactStore, shards: tuple[ArtifactRef, ...], row_type: type[T]) -> Iterator[T]:
    for shard in shards:
        yield from read_lines(store.path(shard), row_type, shard.name)


def write_lines(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write rows as JSON Lines, whole or not at all.

    Returns:
        Number of rows.

    Raises:
        StorageFull: no space left.
    """
    lines = [canonical_json(row) + "\n" for row in rows]
    write_atomic(path, "".join(lines).encode("utf-8"))
    return len(lines)
