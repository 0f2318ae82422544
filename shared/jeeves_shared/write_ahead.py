"""SQLite files that several processes open: the write-ahead log, switched on without a race."""

import sqlite3
import time

_PATIENCE_SECONDS = 30.0
_STEP_SECONDS = 0.02


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a file to its write-ahead log, with every commit that a crash may lose but never tear.

    A busy timeout does not help here: SQLite answers `database is locked` at once to all but one of those that switch a
    new file at the same time. In a file that has the log already nothing happens.

    Raises:
        sqlite3.OperationalError: locked for half a minute, or no file of SQLite.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(_STEP_SECONDS)
    connection.execute("PRAGMA synchronous=NORMAL")
