"""Source `stackexchange-file`: the dump's `Posts.xml`, or the CSV of a Data Explorer query.

The file is read as a stream. Questions that are wanted, and their answers, go into a small database beside the ledger;
when all was read, threads come out of it in order. Memory does not grow with the file.
"""

import contextlib
import csv
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from xml.parsers import expat

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.sources.posts import from_row, tag_names, thread, wanted
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.threads import document
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.sources import StackExchangeFileSource
from jeeves_shared.errors import SourceUnusable

_CHUNK_BYTES = 1 << 18
_PAGE_ROWS = 50_000
_PAGE_QUESTIONS = 100
_LINE_BYTES_MAX = 16 * 1024**2
"""Of one row; the longest body of a post has 30,000 characters."""
_Row = Mapping[str, str]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, fields TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_of_question ON posts (parent);
"""


class StackExchangeFile:
    """Reads a file of posts.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: StackExchangeFileSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self.figures = FetchFigures()
        self._path = Path(source.location).expanduser()
        self._tags = frozenset(tag.lower() for tag in source.tags)
        self._site = source.site_address.rstrip("/")
        self._xml = self._path.suffix.lower() == ".xml"
        self._damage = ""

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """First the rows, without items; then the threads."""
        try:
            stat = self._path.stat()
        except OSError as exc:
            raise SourceUnusable(
                f"{self._path} cannot be read ({exc.strerror}): give Posts.xml or a CSV file."
            ) from exc
        file = {"bytes": stat.st_size, "changed": stat.st_mtime_ns}
        if past.watermark.get("file") == file:
            yield Finished(past.watermark, all_unchanged=True)
            return
        cursor: dict[str, Any] = (
            past.cursor if past.cursor and past.cursor["file"] == file else {"file": file, "rows": 0, "after": -1}
        )
        staged = self._workplace.layout.staged / f"{content_hash(self._source)[:32]}.sqlite"
        staged.parent.mkdir(parents=True, exist_ok=True)
        if cursor["rows"] == 0 and cursor["after"] < 0:
            _remove(staged)
        with contextlib.closing(sqlite3.connect(staged, timeout=60)) as database:
            database.execute("PRAGMA synchronous=OFF")
            database.executescript(_SCHEMA)
            if cursor["after"] < 0:
                for rows in self._stage(database, int(cursor["rows"]), stat.st_size):
                    yield Page(cursor={**cursor, "rows": rows}, message=f"{rows} posts")
                yield Page(cursor={**cursor, "after": 0})
            if self._damage:
                where = f"{self._source.name}/{self._path.name}"
                drop = Drop(where, DropReason.ENTRY_INVALID.value, self._damage)
                yield Page((Item("\0file", "", drops=(drop,)),))
            for items, after in self._threads(database, max(int(cursor["after"]), 0), past):
                yield Page(*items, cursor={**cursor, "after": after}, done=0.9, message=f"question {after}")
        yield Finished({"file": file})
        _remove(staged)

    def emptiness(self, drops: Counter[str]) -> str:
        """No question matches."""
        wanted_tags = f" with {' or '.join(self._source.tags)}" if self._source.tags else ""
        return f"{self._path} holds no question{wanted_tags} that is wanted (left out: {counted(drops)}): check `tags`."

    def _stage(self, database: sqlite3.Connection, skip: int, size: int) -> Iterator[int]:
        questions = {number for (number,) in database.execute("SELECT id FROM posts WHERE parent = 0")}
        rows = _xml_rows(self._path) if self._xml else _csv_rows(self._path)
        batch: list[tuple[int, int, str]] = []
        done = 0
        try:
            for done, row in enumerate(rows, start=1):
                if done > skip and (found := self._wanted_row(row, questions)) is not None:
                    batch.append(found)
                if done % _PAGE_ROWS == 0 and done > skip:
                    _write(database, batch)
                    self._workplace.report(min(done * 700 / max(size, 1), 0.9), f"{done} posts")
                    yield done
        except Dropped as exc:
            # A damaged file is read up to the damage.
            self._damage = f"after {done} rows: {exc}"
        _write(database, batch)

    def _wanted_row(self, row: _Row, questions: set[int]) -> tuple[int, int, str] | None:
        kind = row.get("PostTypeId") or ("2" if row.get("ParentId") else "1")
        try:
            number = int(row.get("Id", ""))
            if kind == "1":
                if self._tags and self._tags.isdisjoint(tag_names((row.get("Tags") or "").lower())):
                    return None
                if self._tags:
                    questions.add(number)
                return number, 0, json.dumps(row)
            parent = int(row.get("ParentId") or 0)
        except ValueError:
            return None
        # An answer is younger than its question, so the question was seen, but for the few that were moved.
        if kind != "2" or not parent or (self._tags and parent < number and parent not in questions):
            return None
        return number, parent, json.dumps(row)

    def _threads(
        self, database: sqlite3.Connection, after: int, past: Past
    ) -> Iterator[tuple[tuple[tuple[Item, ...], tuple[str, ...]], int]]:
        while True:
            rows = database.execute(
                "SELECT id, fields FROM posts WHERE parent = 0 AND id > ? ORDER BY id LIMIT ?", (after, _PAGE_QUESTIONS)
            ).fetchall()
            if not rows:
                return
            items = [self._item(database, number, fields) for number, fields in rows]
            unchanged = tuple(item.key for item in items if past.revision(item.key) == item.revision)
            after = rows[-1][0]
            yield (tuple(item for item in items if item.key not in set(unchanged)), unchanged), after

    def _item(self, database: sqlite3.Connection, number: int, fields: str) -> Item:
        answers = database.execute("SELECT fields FROM posts WHERE parent = ? ORDER BY id", (number,)).fetchall()
        revision = content_hash([fields, [text for (text,) in answers]])
        key = str(number)
        try:
            question = from_row(json.loads(fields))
            told = [from_row(json.loads(text)) for (text,) in answers]
            wanted(question, told, self._source.score_min, self._source.accepted_only)
            route = "dump" if self._xml else "data-explorer"
            made, blocks = thread(question, told, name=self._source.name, site=self._site, route=route)
        except Dropped as exc:
            return Item(key, revision, drops=(Drop.of(f"{self._source.name}/{key}", exc),))
        content, _ = document(made, self._workplace.retrieved_at)
        return Item(key, revision, (content,), code_blocks=blocks)


def _write(database: sqlite3.Connection, batch: list[tuple[int, int, str]]) -> None:
    with database:
        database.executemany("INSERT OR REPLACE INTO posts VALUES (?, ?, ?)", batch)
    batch.clear()


def _remove(staged: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        staged.with_name(staged.name + suffix).unlink(missing_ok=True)


def _xml_rows(path: Path) -> Iterator[_Row]:
    """Attributes of each `row` element, in constant memory; no entities, no document type, nothing from outside."""
    rows: list[dict[str, str]] = []
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            rows.append(attributes)

    def refuse(*_: Any) -> None:
        raise Dropped(DropReason.ENTRY_INVALID, "a document type or an entity, which no dump has")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    yield from _parsed(path, rows, parser)


def _parsed(path: Path, rows: list[dict[str, str]], parser: expat.XMLParserType) -> Iterator[_Row]:
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK_BYTES)
            try:
                parser.Parse(chunk, not chunk)
            except expat.ExpatError as exc:
                yield from rows
                raise Dropped(DropReason.ENTRY_INVALID, f"not well-formed: {exc}") from exc
            yield from rows
            rows.clear()
            if not chunk:
                return
            if file.tell() - parser.CurrentByteIndex > _LINE_BYTES_MAX:
                raise Dropped(DropReason.ENTRY_INVALID, f"a row of more than {_LINE_BYTES_MAX >> 20} MiB")


def _csv_rows(path: Path) -> Iterator[_Row]:
    csv.field_size_limit(min(sys.maxsize, _LINE_BYTES_MAX))
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        try:
            names = [_column(name) for name in next(reader, [])]
            if "Id" not in names or "Body" not in names:
                raise SourceUnusable(f"{path} lacks the columns Id and Body: query the table Posts with all of them.")
            for cells in reader:
                yield {name: cell for name, cell in zip(names, cells, strict=False) if cell}
        except csv.Error as exc:
            raise Dropped(DropReason.ENTRY_INVALID, f"line {reader.line_num}: {exc}") from exc


_COLUMNS = {
    name.lower(): name
    for name in (
        "Id", "PostTypeId", "ParentId", "AcceptedAnswerId", "CreationDate", "Score", "Body", "OwnerUserId",
        "OwnerDisplayName", "LastActivityDate", "LastEditDate", "Title", "Tags", "ContentLicense",
    )
}  # fmt: skip


def _column(name: str) -> str:
    # A query may call a link column `Post Link` or spell the names in its own way.
    plain = name.strip().replace(" ", "").replace("_", "").lower()
    return _COLUMNS.get(plain, name)
