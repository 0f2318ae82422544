"""Suites as files: JSON Lines of four kinds, told apart by their fields."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.suites import CASE_TYPES, SuiteCase, SuiteKind

_TELLING: dict[SuiteKind, frozenset[str]] = {
    "logs": frozenset({"log_path", "reference_diagnosis", "must_mention_any", "must_not_claim"}),
    "abuse": frozenset({"prompt", "must", "document"}),
    "answerable": frozenset({"reference_answer", "key_terms", "source_path", "also_acceptable_paths"}),
    "out_of_scope": frozenset({"category", "must_not"}),
}
"""Fields that only one kind has, most telling kind first; `category` and `must_not` are left for the last."""

_NAMED_MISTAKES_MAX = 50


@dataclass(frozen=True)
class LoadedCase:
    """A case and where it stands.

    Attributes:
        kind: which of the four.
        case: validated.
        folder: of its file; logs are looked for below it.
    """

    kind: SuiteKind
    case: SuiteCase
    folder: Path


@dataclass(frozen=True)
class LoadedSuites:
    """All cases of all files.

    Attributes:
        cases: in the order of the files.
        sha256: of each file, by name.
        notes: what was ignored.
    """

    cases: tuple[LoadedCase, ...]
    sha256: dict[str, str]
    notes: tuple[str, ...]


def read_suites(paths: Sequence[Path]) -> LoadedSuites:
    """Read suite files, or all `*.jsonl` of a folder. Ids are unique in a file, not over files.

    Args:
        paths: at least one.

    Raises:
        CommandError: a file cannot be read, a line lacks a required field, or an id is there twice: all mistakes at
            once, each with its file and line.
    """
    cases: list[LoadedCase] = []
    hashes: dict[str, str] = {}
    mistakes: list[str] = []
    ignored: Counter[str] = Counter()
    seen: dict[tuple[Path, SuiteKind, str], str] = {}
    for path in _files(paths):
        content = _content(path)
        hashes[path.name] = hashlib.sha256(content).hexdigest()
        for number, line in enumerate(_lines(content, path), start=1):
            if not line.strip():
                continue
            place = f"{path.name}, line {number}"
            loaded = _case(line, path, place, mistakes, ignored)
            if loaded is None:
                continue
            first = seen.setdefault((path, loaded.kind, loaded.case.id), place)
            if first != place:
                mistakes.append(f"{place}: the id {loaded.case.id!r} is at {first} already")
            cases.append(loaded)
    if mistakes:
        shown = "\n".join(f"  {mistake}" for mistake in mistakes[:_NAMED_MISTAKES_MAX])
        raise CommandError(f"The suite has {len(mistakes)} mistake(s):\n{shown}", Exit.USAGE)
    if not cases:
        raise CommandError("The suite has no case: give JSON Lines as docs/trainer.md describes them.", Exit.USAGE)
    notes = tuple(f"ignored field `{name}` of {count} case(s)" for name, count in sorted(ignored.items()))
    return LoadedSuites(tuple(cases), hashes, notes)


def kind_of(fields: frozenset[str], file_stem: str) -> SuiteKind | None:
    """The kind of a line; None if nothing tells it.

    Args:
        fields: names that the line has.
        file_stem: a file that is named after a kind decides where the fields do not.
    """
    found = next((kind for kind, telling in _TELLING.items() if fields & telling), None)
    if found == "out_of_scope" or found is None:
        # What is left could be any kind with its telling fields forgotten.
        return next((kind for kind in CASE_TYPES if kind == file_stem), found)
    return found


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise CommandError(f"No *.jsonl in {', '.join(map(str, paths))}.", Exit.USAGE)
    return files


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc


def _lines(content: bytes, path: Path) -> list[str]:
    try:
        # Not splitlines: it also splits at characters that JSON leaves inside of strings, such as U+2028.
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as exc:
        raise CommandError(f"{path} is not UTF-8: save it so.", Exit.USAGE) from exc


def _case(line: str, path: Path, place: str, mistakes: list[str], ignored: Counter[str]) -> LoadedCase | None:
    try:
        row: Any = json.loads(line)
    except ValueError as exc:
        mistakes.append(f"{place}: no JSON ({exc})")
        return None
    if not isinstance(row, dict):
        mistakes.append(f"{place}: no JSON object")
        return None
    kind = kind_of(frozenset(row), path.stem)
    if kind is None:
        mistakes.append(f"{place}: of no known kind ({', '.join(CASE_TYPES)}): its fields are {', '.join(sorted(row))}")
        return None
    case_type = CASE_TYPES[kind]
    try:
        case = case_type.model_validate(row)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            field = ".".join(str(part) for part in error["loc"])
            what = f"needs `{field}`" if error["type"] == "missing" else f"`{field}`: {error['msg']}"
            mistakes.append(f"{place}: a case of kind {kind} {what}")
        return None
    ignored.update(name for name in row if name not in case_type.model_fields)
    return LoadedCase(kind, case, path.parent)
