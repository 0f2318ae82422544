"""Posts of a file, sorted: a question can be asked for with its answers, wherever in the file those stood."""

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jeeves_collector.sources.post_sieve import StagedPost

_SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, fields TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_of_question ON posts (parent);
"""


@dataclass(frozen=True)
class StagedThread:
    """A question with its answers, each as the JSON of its row."""

    number: int
    question: str
    answers: tuple[str, ...]


class StagedPosts(AbstractContextManager["StagedPosts"]):
    """One SQLite file, without a promise to outlive a power failure: it is made again from the source.

    Args:
        path: of the file; it and its folder are made.
        fresh: whether to begin with an empty one.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.remove()
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def remove(self) -> None:
        """Remove the file."""
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def add(self, posts: Sequence[StagedPost]) -> None:
        """Write posts; those that are there already are replaced."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO posts VALUES (?, ?, ?)", [(post.id, post.parent, post.fields) for post in posts]
            )

    def questions(self) -> list[int]:
        """Numbers of all questions."""
        return [number for (number,) in self._connection.execute("SELECT id FROM posts WHERE parent = 0")]

    def threads(self, after: int, number: int) -> list[StagedThread]:
        """Some questions with their answers, by number.

        Args:
            after: the number of the last question that is not wanted any more.
            number: of questions, at most.
        """
        questions = self._connection.execute(
            "SELECT id, fields FROM posts WHERE parent = 0 AND id > ? ORDER BY id LIMIT ?", (after, number)
        ).fetchall()
        return [StagedThread(question, fields, self._answers(question)) for question, fields in questions]

    def _answers(self, question: int) -> tuple[str, ...]:
        rows = self._connection.execute("SELECT fields FROM posts WHERE parent = ? ORDER BY id", (question,))
        return tuple(fields for (fields,) in rows)
