"""What the collector remembers between runs: converted sections.

One SQLite file. Losing it costs time, nothing else.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jeeves_shared.write_ahead import use_write_ahead_log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversions (key TEXT PRIMARY KEY, title TEXT NOT NULL, markdown TEXT NOT NULL);
"""
_VARIABLES_MAX = 500
"""SQLite allows 999 in old builds."""


class CollectorState:
    """The SQLite file; used by one thread.

    Args:
        path: of the file; it and its folder are made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=30)
        use_write_ahead_log(self._connection)
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


@contextmanager
def open_state(path: Path) -> Iterator[CollectorState]:
    """The state for the length of a block."""
    state = CollectorState(path)
    try:
        yield state
    finally:
        state.close()
