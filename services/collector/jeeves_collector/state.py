"""What the collector remembers between runs: converted sections, and when each document was first seen.

One SQLite file. Losing it costs time and newer `retrieved_at` stamps, nothing else.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversions (key TEXT PRIMARY KEY, title TEXT NOT NULL, markdown TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS retrieved (
    source_path TEXT NOT NULL, sha256 TEXT NOT NULL, at TEXT NOT NULL, revision TEXT NOT NULL,
    PRIMARY KEY (source_path, sha256)
);
"""
_VARIABLES_MAX = 500
"""SQLite allows 999 in old builds."""


@dataclass(frozen=True)
class Retrieval:
    """When some bytes were first read, and at which revision of their source."""

    at: datetime
    revision: str


class CollectorState:
    """The SQLite file; used by one thread.

    Args:
        path: of the file; it and its folder are made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=30)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def conversions(self, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The known ones of some conversions.

        Returns:
            Title and Markdown by key.
        """
        found: dict[str, tuple[str, str]] = {}
        for start in range(0, len(keys), _VARIABLES_MAX):
            part = keys[start : start + _VARIABLES_MAX]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(
                f"SELECT key, title, markdown FROM conversions WHERE key IN ({marks})",  # noqa: S608 - marks only
                part,
            )
            found.update({key: (title, markdown) for key, title, markdown in rows})
        return found

    def keep_conversions(self, converted: Mapping[str, tuple[str, str]]) -> None:
        """Remember conversions: title and Markdown by key."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO conversions VALUES (?, ?, ?)",
                [(key, title, markdown) for key, (title, markdown) in converted.items()],
            )

    def first_seen(self, digests: Mapping[str, str], revision: str) -> dict[str, Retrieval]:
        """When each document was first seen with its present bytes; now, for those that are new.

        Args:
            digests: sha256 of the source bytes by source path.
            revision: of the source, now.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        with self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO retrieved VALUES (?, ?, ?, ?)",
                [(path, sha256, now.isoformat(), revision) for path, sha256 in digests.items()],
            )
        with closing(self._connection.cursor()) as cursor:
            seen: dict[str, Retrieval] = {}
            for path, sha256 in digests.items():
                at, first_revision = cursor.execute(
                    "SELECT at, revision FROM retrieved WHERE source_path = ? AND sha256 = ?", (path, sha256)
                ).fetchone()
                seen[path] = Retrieval(datetime.fromisoformat(at), first_revision)
            return seen


@contextmanager
def open_state(path: Path) -> Iterator[CollectorState]:
    """The state for the length of a block."""
    state = CollectorState(path)
    try:
        yield state
    finally:
        state.close()
