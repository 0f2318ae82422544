"""Arrays behind the database: one file, one sha256, and what is large is mapped into memory, never copied.

SQLite reads as many pages as its header names and ignores what follows, so the file is a database to SQLite and a set
of arrays to numpy::

    database | array, array, … each at a multiple of 64 bytes | directory (JSON) | its length, 8 bytes | MAGIC

A blob in the database would do for small indexes, but SQLite hands blobs out as copies: 0.5 GB for a million sections.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jeeves_shared.search.errors import IndexUnusable

MAGIC = b"JEEVESIX"
_ALIGNMENT_BYTES = 64
_TAIL = struct.Struct("<Q8s")

Array = npt.NDArray[Any]


def append_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays behind a closed database.

    Args:
        path: of the database.
        arrays: by name; little-endian types.
    """
    directory = {}
    with path.open("ab") as file:
        for name, array in sorted(arrays.items()):
            file.write(b"\0" * (-file.tell() % _ALIGNMENT_BYTES))
            directory[name] = [array.dtype.str, list(array.shape), file.tell()]
            np.ascontiguousarray(array).tofile(file)
        encoded = json.dumps(directory, sort_keys=True).encode()
        file.write(encoded + _TAIL.pack(len(encoded), MAGIC))


def map_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a file, mapped read-only: a page of them is read when it is first looked at.

    Raises:
        IndexUnusable: the file has no arrays, or is cut.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL.size))
        tail = file.read(_TAIL.size)
        if len(tail) < _TAIL.size or not tail.endswith(MAGIC):
            raise IndexUnusable(f"{path.name} is not a search index or is damaged: build it again.")
        length, _ = _TAIL.unpack(tail)
        file.seek(max(0, size - _TAIL.size - length))
        try:
            directory = json.loads(file.read(length))
            return {name: _mapped(path, dtype, shape, offset) for name, (dtype, shape, offset) in directory.items()}
        except (ValueError, TypeError) as exc:
            raise IndexUnusable(f"{path.name} is damaged: build it again.") from exc


def _mapped(path: Path, dtype: str, shape: list[int], offset: int) -> Array:
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    mapped = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=tuple(shape))
    # A plain view: slices of np.memmap objects cost microseconds each.
    return mapped.view(np.ndarray)
