"""Rows of `Posts.xml`, and of the CSV of a Data Explorer query, as a stream.

A dump has one `<row …/>` a line, and most lines are of no interest: they are told by their bytes, and only those that
may be wanted are parsed. Where a file is of another form, the XML parser reads it from that line on, to its end.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from xml.parsers import expat

from jeeves_collector.drops import Dropped, DropReason
from jeeves_shared.errors import SourceUnusable

Row = Mapping[str, str]
"""A post: its fields by the names of the table Posts."""

_SCAN_BYTES = 1 << 20
_PARSE_BYTES = 1 << 18
_CSV_ROWS = 1000
_LINE_BYTES_MAX = 16 * 1024**2
"""Of one row; the longest body of a post has 30,000 characters."""
_HEAD = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:<\?xml version=[\"']1\.0[\"'](?: encoding=[\"'](?i:utf-8)[\"'])?\s*\?>\s*)?<posts>\s*?\n"
)
_ROW = re.compile(rb'[ \t]*<row Id="(\d{1,18})"((?: [A-Za-z]+="[^"<]*")*) ?/>[ \t]*\r?')
"""A value between double quotes holds none, so what this matches is an element, whole, with these attributes."""


@dataclass(frozen=True)
class Place:
    """Where a stream stands.

    Attributes:
        offset: bytes of the file that are done.
        rows: behind them, that are done too.
    """

    offset: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Batch:
    """Some rows of a file.

    Attributes:
        rows: those that may be wanted.
        place: behind them.
        read_bytes: of the file so far, about.
    """

    rows: list[Row]
    place: Place
    read_bytes: int


class Sieve(Protocol):
    """Is asked about every row, in the order of the file, before it is parsed."""

    def may_want(self, number: int, attributes: bytes) -> bool:
        """Whether a row is worth parsing.

        Args:
            number: its `Id`.
            attributes: the others as they are in the file, each with a blank before it.
        """
        ...

    def passed(self, number: int) -> None:
        """Told of a row that was parsed unasked."""
        ...


def xml_rows(path: Path, place: Place, sieve: Sieve) -> Iterator[Batch]:
    """Posts of a dump, in constant memory; no entities, no document type, nothing from outside.

    Args:
        path: of the file.
        place: where to go on.
        sieve: chooses.

    Raises:
        Dropped: the file is damaged; what stands before the damage was given.
    """
    with path.open("rb") as file:
        offset = place.offset
        if not offset and not place.rows:
            head = _HEAD.match(file.read(512))
            offset = head.end() if head else 0
        if offset and not place.rows:
            for batch in _scanned(file, offset, sieve):
                offset = batch.place.offset
                yield batch
        yield from _parsed(file, Place(offset, place.rows), sieve)


def _scanned(file: BinaryIO, offset: int, sieve: Sieve) -> Iterator[Batch]:
    """Rows up to the first line that is none: the end of the posts, damage, or another form of the file."""
    parser = _RowParser()
    parser.feed(b"<posts>")
    file.seek(offset)
    rest = b""
    while chunk := file.read(_SCAN_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        kept: list[bytes] = []
        for line in lines:
            found = _ROW.fullmatch(line)
            if found is None:
                yield from parser.batch(kept, offset)
                return
            if sieve.may_want(int(found[1]), found[2]):
                kept.append(line)
            offset += len(line) + 1
        yield from parser.batch(kept, offset)
        if len(rest) > _LINE_BYTES_MAX:
            return


def _parsed(file: BinaryIO, place: Place, sieve: Sieve) -> Iterator[Batch]:
    parser = _RowParser()
    if place.offset:
        parser.feed(b"<posts>")
    before = parser.bytes_done
    file.seek(place.offset)
    done = 0
    while True:
        chunk = file.read(_PARSE_BYTES)
        damage = parser.feed(chunk, last=not chunk)
        rows = parser.taken()
        fresh = rows[max(place.rows - done, 0) :]
        done += len(rows)
        for row in fresh:
            if row.get("Id", "").isdecimal():
                sieve.passed(int(row["Id"]))
        yield Batch(fresh, Place(place.offset, max(done, place.rows)), file.tell())
        if damage:
            raise Dropped(DropReason.ENTRY_INVALID, damage)
        if not chunk:
            return
        if file.tell() - place.offset - (parser.bytes_done - before) > _LINE_BYTES_MAX:
            raise Dropped(DropReason.ENTRY_INVALID, f"a row of more than {_LINE_BYTES_MAX >> 20} MiB")


class _RowParser:
    """Attributes of the `row` elements in what it is fed."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self._rows.append(attributes)

    @staticmethod
    def _refuse(*_: Any) -> None:
        raise Dropped(DropReason.ENTRY_INVALID, "a document type or an entity, which no dump has")

    @property
    def bytes_done(self) -> int:
        return max(self._parser.CurrentByteIndex, 0)

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Parse some bytes; what is wrong with them, or an empty text."""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as exc:
            return f"not well-formed: {expat.ErrorString(exc.code)}"
        return ""

    def taken(self) -> list[Row]:
        """The rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def batch(self, lines: list[bytes], offset: int) -> Iterator[Batch]:
        """The rows of some lines.

        Raises:
            Dropped: one of them is damaged; those before it were given.
        """
        damage = self.feed(b"\n".join(lines))
        yield Batch(self.taken(), Place(offset), offset)
        if damage:
            raise Dropped(DropReason.ENTRY_INVALID, damage)


def csv_rows(path: Path, place: Place, sieve: Sieve) -> Iterator[Batch]:
    """Posts of a query's result.

    Args:
        path: of the file.
        place: where to go on.
        sieve: told of each row.

    Raises:
        SourceUnusable: the columns are not those of posts.
        Dropped: the file is damaged; what stands before the damage was given.
    """
    csv.field_size_limit(min(sys.maxsize, _LINE_BYTES_MAX))
    rows: list[Row] = []
    done = 0
    with path.open("rb") as file, io.TextIOWrapper(file, "utf-8-sig", "replace", newline="") as text:
        reader = csv.reader(text)
        damage = ""
        try:
            names = [_column(name) for name in next(reader, [])]
            if "Id" not in names or "Body" not in names:
                raise SourceUnusable(f"{path} lacks the columns Id and Body: query the table Posts with all of them.")
            for done, cells in enumerate(reader, start=1):
                if done <= place.rows:
                    continue
                row = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
                if row.get("Id", "").isdecimal():
                    sieve.passed(int(row["Id"]))
                rows.append(row)
                if len(rows) == _CSV_ROWS:
                    yield Batch(rows, Place(0, done), file.tell())
                    rows = []
        except csv.Error as exc:
            damage = f"line {reader.line_num}: {exc}"
        yield Batch(rows, Place(0, max(done, place.rows)), file.tell())
    if damage:
        raise Dropped(DropReason.ENTRY_INVALID, damage)


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
