"""Rows of files that people keep questions in: CSV, JSON Lines, JSON, XLSX, Parquet."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import python_calamine

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import decode
from jeeves_shared.errors import SourceUnusable

SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".json", ".xlsx", ".parquet"})
FILE_BYTES_MAX = 256 * 1024**2
XLSX_UNPACKED_BYTES_MAX = 512 * 1024**2
"""An XLSX file is an archive: a small one can unpack to anything."""
_PARQUET_ROWS = 1024

Row = dict[str, Any] | Dropped
"""Fields by name, or why there are none."""


def table_files(location: str) -> list[Path]:
    """The files of a source, sorted.

    Raises:
        SourceUnusable: nothing there, or no file of a known form.
    """
    path = Path(location).expanduser()
    if not path.exists():
        raise SourceUnusable(f"{path} does not exist: give a file of questions, or a folder of them.")
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise SourceUnusable(f"{path} is none of {', '.join(sorted(SUFFIXES))}: convert it to one of them.")
        return [path]
    files = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES and one.is_file())
    if not files:
        raise SourceUnusable(f"{path} holds none of {', '.join(sorted(SUFFIXES))}: give a file of questions.")
    return files


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one file, in order; a `Dropped` for each that is none.

    Args:
        path: from `table_files`.

    Raises:
        SourceUnusable: the file cannot be read at all.
    """
    suffix = path.suffix.lower()
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SourceUnusable(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB: split it.")
        if suffix == ".xlsx":
            yield from _xlsx(path)
        elif suffix == ".parquet":
            yield from _parquet(path)
        else:
            text = decode(path.read_bytes())
            reader = {".csv": _csv, ".json": _json}.get(suffix, _json_lines)
            yield from reader(text, path)
    except OSError as exc:
        raise SourceUnusable(f"{path} cannot be read ({exc.strerror or exc}): check it and its permissions.") from exc
    except Dropped as exc:
        raise SourceUnusable(f"{path} is not a text file ({exc}): save it as UTF-8.") from exc


def _csv(text: str, path: Path) -> Iterator[Row]:
    csv.field_size_limit(FILE_BYTES_MAX)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if not reader.fieldnames:
            raise SourceUnusable(f"{path} is empty: its first line has to name the columns.")
        for row in reader:
            # Cells behind the last column stand under None.
            yield {str(name): value for name, value in row.items() if isinstance(name, str) and value is not None}
    except csv.Error as exc:
        yield Dropped(DropReason.QUESTION_INVALID, f"line {reader.line_num}: {exc}; the rest of the file is lost")


def _json_lines(text: str, path: Path) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _record(line, f"line {number}")


def _json(text: str, path: Path) -> Iterator[Row]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise SourceUnusable(f"{path} is not JSON ({exc}): check it.") from exc
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else [content]
    for number, record in enumerate(content if isinstance(content, list) else [content], start=1):
        known = isinstance(record, dict)
        yield record if known else Dropped(DropReason.QUESTION_INVALID, f"record {number}: not a JSON object")


def _record(text: str, where: str) -> Row:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return Dropped(DropReason.QUESTION_INVALID, f"{where}: {exc}")
    return record if isinstance(record, dict) else Dropped(DropReason.QUESTION_INVALID, f"{where}: not a JSON object")


def _xlsx(path: Path) -> Iterator[Row]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > XLSX_UNPACKED_BYTES_MAX:
            raise SourceUnusable(f"{path} unpacks to {unpacked >> 20} MiB: split it.")
        workbook = python_calamine.CalamineWorkbook.from_path(path)
        sheets = [workbook.get_sheet_by_name(name) for name in workbook.sheet_names]
    except (zipfile.BadZipFile, python_calamine.CalamineError) as exc:
        raise SourceUnusable(f"{path} is no workbook that can be read ({exc}): save it again as XLSX.") from exc
    for sheet in sheets:
        rows = iter(sheet.iter_rows())
        names = [str(cell).strip() for cell in next(rows, [])]
        for row in rows:
            fields = {name: cell for name, cell in zip(names, row, strict=False) if name and cell != ""}
            if fields:
                yield fields


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra: 150 MB that most installations do not need
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as exc:
        raise SourceUnusable(f"{path} needs pyarrow: pip install 'jeeves-collector[parquet]'.") from exc
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, ValueError) as exc:
        raise SourceUnusable(f"{path} is no Parquet file that can be read ({exc}): write it again.") from exc
