"""Source `pairs`: questions and answers from JSON Lines and CSV files."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import decode
from jeeves_shared.contracts.documents import Pair, PairKind
from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.contracts.recipes import PairsSource
from jeeves_shared.errors import SourceUnusable

_SUFFIXES = frozenset({".jsonl", ".csv"})
_COLUMNS = frozenset({"question", "answer", "source_path"})
_HOW_TO = ("how do", "how can", "how to", "how should", "how would")
FILE_BYTES_MAX = 256 * 1024 * 1024


def pair_files(source: PairsSource) -> list[Path]:
    """The files of a source, sorted.

    Raises:
        SourceUnusable: nothing there, or no file of a known form.
    """
    location = Path(source.location).expanduser()
    if not location.exists():
        raise SourceUnusable(f"{location} does not exist: give a .jsonl or .csv file of pairs, or a folder of them.")
    if location.is_file():
        if location.suffix not in _SUFFIXES:
            raise SourceUnusable(f"{location} is neither .jsonl nor .csv: convert it to one of them.")
        return [location]
    files = sorted(path for path in location.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    if not files:
        raise SourceUnusable(f"{location} holds no .jsonl or .csv file: give a file of pairs, or a folder of them.")
    return files


def read_pairs(source: PairsSource, path: Path) -> Iterator[Pair | Dropped]:
    """The pairs of one file, in order; a `Dropped` for each line that is none.

    Args:
        source: of the recipe.
        path: from `pair_files`.

    Raises:
        SourceUnusable: the file cannot be read, or is a CSV file without the columns.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SourceUnusable(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB: split it.")
        text = decode(path.read_bytes())
    except OSError as exc:
        raise SourceUnusable(f"{path} cannot be read ({exc.strerror}): check its permissions.") from exc
    except Dropped as exc:
        raise SourceUnusable(f"{path} is not a text file ({exc}): save it as UTF-8.") from exc
    rows = _csv_rows(text, path) if path.suffix == ".csv" else _json_rows(text)
    for number, row in rows:
        yield _pair(row, f"{source.name}-{_short_name(path, source)}{number}", f"{path.name}:{number}")


def _short_name(path: Path, source: PairsSource) -> str:
    return "" if Path(source.location).suffix else f"{path.stem}-"


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError:
                yield number, None


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(FILE_BYTES_MAX)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = _COLUMNS - set(reader.fieldnames or ())
    if missing:
        raise SourceUnusable(f"{path} lacks the column(s) {', '.join(sorted(missing))}: name them in its first line.")
    for number, row in enumerate(reader, start=1):
        yield number, {name: row[name] for name in ("id", *_COLUMNS) if row.get(name)}


def _pair(row: Any, fallback_id: str, where: str) -> Pair | Dropped:
    if not isinstance(row, Mapping):
        return Dropped(DropReason.PAIR_INVALID, f"{where}: not a JSON object")
    fields = {str(name): value for name, value in row.items()}
    if "must_not" in fields and "answer" not in fields:
        fields = _refusal(fields)
    fields.setdefault("id", fallback_id)
    fields.setdefault("kind", _kind_of(str(fields.get("question", ""))))
    try:
        pair = Pair.model_validate(fields)
    except ValidationError as exc:
        mistakes = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors())
        return Dropped(DropReason.PAIR_INVALID, f"{where}: {mistakes}")
    if not pair.question.strip() or not pair.answer.strip():
        return Dropped(DropReason.PAIR_INVALID, f"{where}: an empty question or answer")
    return pair


def _refusal(fields: dict[str, Any]) -> dict[str, Any]:
    must_not = fields.get("must_not") or ()
    return {
        **({"id": fields["id"]} if "id" in fields else {}),
        "kind": "refusal",
        "question": fields.get("question", ""),
        "answer": REFUSAL,
        "source_path": "",
        "must_not": [must_not] if isinstance(must_not, str) else must_not,
    }


def _kind_of(question: str) -> PairKind:
    return "how-to" if question.strip().lower().startswith(_HOW_TO) else "concept"
