"""What the collector holds of each source: its items, what they gave, and where an unfinished run stands.

One SQLite file. A page and the cursor behind it are written together, so that after a kill both are there or neither.
Losing the file costs a whole new collection and newer `retrieved_at` stamps, nothing else.
"""

import heapq
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jeeves_collector.sources.protocol import Drop, Finished, Item, Page, Past
from jeeves_shared.contracts.base import canonical_json, content_hash
from jeeves_shared.contracts.documents import Document, Pair
from jeeves_shared.write_ahead import use_write_ahead_log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    source TEXT PRIMARY KEY, run INTEGER NOT NULL, cursor TEXT, finished INTEGER NOT NULL, watermark TEXT NOT NULL,
    revision TEXT NOT NULL, used_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
    source TEXT NOT NULL, key TEXT NOT NULL, revision TEXT NOT NULL, run INTEGER NOT NULL, notes TEXT NOT NULL,
    code_blocks INTEGER NOT NULL, PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    source TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL, key TEXT NOT NULL, position INTEGER NOT NULL,
    identity TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (source, kind, path, key, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents_of_item ON contents (source, key);
CREATE TABLE IF NOT EXISTS published (
    recipe TEXT NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL, identity TEXT NOT NULL,
    PRIMARY KEY (recipe, kind, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published_ids (recipe TEXT PRIMARY KEY, collection TEXT NOT NULL);
"""
_FORGET_DAYS = 90
"""What no recipe has asked for since is removed."""


@dataclass(frozen=True)
class Row:
    """One document or pair, as stored: `body` is its canonical JSON, `identity` the part of it that counts."""

    path: str
    identity: str
    body: str


@dataclass(frozen=True)
class Notes:
    """What was left out of, or left open in, the items of a source."""

    drops: tuple[Drop, ...]
    findings: dict[str, Counter[str]]


class Ledger:
    """The SQLite file; used by one thread.

    Args:
        path: of the file; it and its folder are made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60)
        use_write_ahead_log(self._connection)
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # One run of one source.

    def begin(self, source: str) -> Past:
        """Begin a run, or go on with the one that did not end."""
        now = datetime.now(UTC).isoformat()
        with self._connection:
            self._connection.execute(
                "INSERT INTO runs VALUES (?, 1, NULL, 0, '{}', '', ?) ON CONFLICT (source) DO UPDATE SET "
                "run = run + finished, cursor = CASE WHEN finished THEN NULL ELSE cursor END, finished = 0, "
                "used_at = excluded.used_at",
                (source, now),
            )
        cursor, watermark = self._connection.execute(
            "SELECT cursor, watermark FROM runs WHERE source = ?", (source,)
        ).fetchone()
        return Past(
            json.loads(cursor) if cursor else None,
            json.loads(watermark),
            lambda key: self._known(source, key),
            lambda after, number: self._unseen(source, after, number),
        )

    def _known(self, source: str, key: str) -> str | None:
        row = self._connection.execute("SELECT revision FROM items WHERE source = ? AND key = ?", (source, key))
        found = row.fetchone()
        return str(found[0]) if found else None

    def _unseen(self, source: str, after: str, number: int) -> list[str]:
        rows = self._connection.execute(
            "SELECT key FROM items WHERE source = :s AND key > :after "
            "AND run < (SELECT run FROM runs WHERE source = :s) ORDER BY key LIMIT :number",
            {"s": source, "after": after, "number": number},
        )
        return [key for (key,) in rows]

    def keep(self, source: str, page: Page) -> None:
        """Write a page and the place behind it: all of it or nothing."""
        with self._connection:
            (run,) = self._connection.execute("SELECT run FROM runs WHERE source = ?", (source,)).fetchone()
            for item in page.items:
                self._replace(source, run, item)
            self._connection.executemany(
                "UPDATE items SET run = ? WHERE source = ? AND key = ?", [(run, source, key) for key in page.unchanged]
            )
            if page.cursor is not None:
                self._connection.execute(
                    "UPDATE runs SET cursor = ? WHERE source = ?", (canonical_json(page.cursor), source)
                )

    def _replace(self, source: str, run: int, item: Item) -> None:
        execute = self._connection.execute
        old = {
            (kind, path): (identity, body)
            for kind, path, identity, body in execute(
                # Without being told, SQLite reads the whole source for each item: its primary key begins so.
                "SELECT kind, path, identity, body FROM contents INDEXED BY contents_of_item "
                "WHERE source = ? AND key = ?",
                (source, item.key),
            )
        }
        execute("DELETE FROM contents WHERE source = ? AND key = ?", (source, item.key))
        notes = ""
        if item.drops or any(item.findings.values()):
            notes = canonical_json({"drops": [asdict(drop) for drop in item.drops], "findings": item.findings})
        execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?)",
            (source, item.key, item.revision, run, notes, item.code_blocks),
        )
        for position, content in enumerate(item.content):
            kind, path, identity = _identity(content)
            known = old.get((kind, path))
            # What did not change keeps the stamps of its first retrieval, so that its shard stays equal.
            body = known[1] if known and known[0] == identity else canonical_json(content)
            execute(
                "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?, ?)",
                (source, kind, path, item.key, position, identity, body),
            )

    def finish(self, source: str, end: Finished) -> None:
        """End a run; what a complete listing did not name is removed."""
        with self._connection:
            if end.complete and not end.all_unchanged:
                gone = "SELECT key FROM items WHERE source = :s AND run < (SELECT run FROM runs WHERE source = :s)"
                self._connection.execute(
                    f"DELETE FROM contents WHERE source = :s AND key IN ({gone})",  # noqa: S608 - constant
                    {"s": source},
                )
                self._connection.execute(
                    "DELETE FROM items WHERE source = :s AND run < (SELECT run FROM runs WHERE source = :s)",
                    {"s": source},
                )
            self._connection.execute(
                "UPDATE runs SET finished = 1, cursor = NULL, watermark = ?, revision = ? WHERE source = ?",
                (canonical_json(end.watermark), end.source_revision, source),
            )

    def forget(self, source: str) -> None:
        """Remove all that is known of a source."""
        with self._connection:
            self._remove([source])

    def forget_unused(self) -> None:
        """Remove what no recipe has asked for in `_FORGET_DAYS`."""
        before = (datetime.now(UTC) - timedelta(days=_FORGET_DAYS)).isoformat()
        with self._connection:
            rows = self._connection.execute("SELECT source FROM runs WHERE used_at < ?", (before,)).fetchall()
            self._remove([source for (source,) in rows])

    def _remove(self, sources: Sequence[str]) -> None:
        for source in sources:
            self._connection.execute("DELETE FROM contents WHERE source = ?", (source,))
            self._connection.execute("DELETE FROM items WHERE source = ?", (source,))
            self._connection.execute("DELETE FROM runs WHERE source = ?", (source,))

    # What there is.

    def count(self, source: str, kind: str) -> int:
        """Documents or pairs of a source."""
        (number,) = self._connection.execute(
            "SELECT count(*) FROM contents WHERE source = ? AND kind = ?", (source, kind)
        ).fetchone()
        return int(number)

    def code_blocks(self, source: str) -> int:
        """In all documents of a source."""
        (number,) = self._connection.execute(
            "SELECT coalesce(sum(code_blocks), 0) FROM items WHERE source = ?", (source,)
        ).fetchone()
        return int(number)

    def source_revision(self, source: str) -> str:
        """As the last run found it."""
        row = self._connection.execute("SELECT revision FROM runs WHERE source = ?", (source,)).fetchone()
        return str(row[0]) if row else ""

    def notes(self, source: str) -> Notes:
        """What was left out and left open, in the order of the items' keys."""
        drops: list[Drop] = []
        findings: dict[str, Counter[str]] = {}
        rows = self._connection.execute(
            "SELECT notes FROM items WHERE source = ? AND notes != '' ORDER BY key", (source,)
        )
        for (text,) in rows:
            fields = json.loads(text)
            drops.extend(Drop(**drop) for drop in fields["drops"])
            for kind, names in fields["findings"].items():
                findings.setdefault(kind, Counter()).update(names)
        return Notes(tuple(drops), findings)

    def rows(self, sources: Sequence[str], kind: str, *, bodies: bool = True) -> Iterator[Row]:
        """Documents or pairs of some sources, sorted by path; of equal paths all, those of earlier sources first.

        Args:
            sources: keys.
            kind: `document` or `pair`.
            bodies: False: leave them out, which is many times faster.
        """
        # Each source is in this order already; sorting all of them would move every body. Of equals, the merge takes
        # those of the earlier source first.
        ordered = [self._rows(source, kind, bodies) for source in sources]
        return heapq.merge(*ordered, key=lambda row: row.path)

    def _rows(self, source: str, kind: str, bodies: bool) -> Iterator[Row]:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(
                f"SELECT path, identity, {'body' if bodies else repr('')} FROM contents "  # noqa: S608 - constants
                "WHERE source = ? AND kind = ? ORDER BY path, key, position",
                (source, kind),
            )
            for path, identity, body in cursor:
                yield Row(path, identity, body)

    # What was published.

    def published_id(self, recipe: str) -> str:
        """Id of the collection that a recipe gave last; empty if there is none."""
        row = self._connection.execute("SELECT collection FROM published_ids WHERE recipe = ?", (recipe,)).fetchone()
        return str(row[0]) if row else ""

    def published(self, recipe: str, kind: str) -> dict[str, str]:
        """Hash of the identity by path, of what a recipe gave last."""
        rows = self._connection.execute(
            "SELECT path, identity FROM published WHERE recipe = ? AND kind = ?", (recipe, kind)
        )
        return dict(rows.fetchall())

    def publish(self, recipe: str, collection: str, rows: Iterable[tuple[str, str, str]]) -> None:
        """Remember what a recipe gave: kind, path and hash of the identity of each row."""
        with self._connection:
            self._connection.execute("DELETE FROM published WHERE recipe = ?", (recipe,))
            self._connection.executemany(
                "INSERT OR IGNORE INTO published VALUES (?, ?, ?, ?)", ((recipe, *row) for row in rows)
            )
            self._connection.execute("INSERT OR REPLACE INTO published_ids VALUES (?, ?)", (recipe, collection))


def _identity(content: Document | Pair) -> tuple[str, str, str]:
    if isinstance(content, Pair):
        return "pair", content.id, canonical_json([content.id, content_hash(content)])
    # The bytes of its source, and what this version of the collector made of them.
    provenance = content.provenance
    body = content_hash(content.model_dump(mode="json", exclude={"provenance"}))
    return (
        "document",
        content.source_path,
        canonical_json([content.source_path, provenance.sha256, body, provenance.url]),
    )


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger for the length of a block."""
    ledger = Ledger(path)
    try:
        yield ledger
    finally:
        ledger.close()
