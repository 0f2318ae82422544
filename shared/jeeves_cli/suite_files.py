"""Files that an evaluation recipe names: the trainer gets what is in them, for it cannot read the folders here."""

import json
from pathlib import Path
from typing import Any

from jeeves_cli.exams import read_exam
from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.recipes import EvaluateRecipe


def with_suite_files(content: Any, folder: Path) -> Any:
    """A recipe's content with the `file` of each suite replaced by what is in it.

    Args:
        content: as YAML gave it; what is no recipe is left for the validation to complain about.
        folder: of the recipe.

    Raises:
        CommandError: a file cannot be read, or is not what its suite takes.
    """
    suites = content.get("suites") if isinstance(content, dict) else None
    if not isinstance(suites, list):
        return content
    return {**content, "suites": [_with_file(suite, folder) for suite in suites]}


def only_suites(recipe: EvaluateRecipe, names: str) -> EvaluateRecipe:
    """The recipe with some of its suites.

    Args:
        recipe: with its suites.
        names: with commas between; empty: all of them.

    Raises:
        CommandError: the recipe has no such suite.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    have = {suite.name: suite for suite in recipe.suites}
    if unknown := [name for name in wanted if name not in have]:
        raise CommandError(
            f"--suites: no {', '.join(unknown)} in the recipe {recipe.name}; it has {', '.join(have) or 'none'}.",
            Exit.USAGE,
        )
    chosen = dict.fromkeys(wanted or have)
    return recipe.model_copy(update={"suites": tuple(have[name] for name in chosen)})


def _with_file(suite: Any, folder: Path) -> Any:
    if not isinstance(suite, dict) or "file" not in suite:
        return suite
    rest = {name: value for name, value in suite.items() if name != "file"}
    path = folder / str(suite["file"])
    if suite.get("type") != "exam":
        field = "canaries" if suite.get("type") == "memorization" else "cases"
        return {**rest, field: _lines(path)}
    language, subject = str(rest.pop("language", "en")), str(rest.pop("subject", ""))
    exam = read_exam(path, None, language).model_copy(update={"subject": subject})
    return {**rest, "exam": exam.model_dump(mode="json")}


def _lines(path: Path) -> list[Any]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"{path}, named in the recipe, cannot be read: {exc}.", Exit.USAGE) from exc
    rows: list[Any] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as exc:
                raise CommandError(f"{path}, line {number}: no JSON ({exc}).", Exit.USAGE) from exc
    return rows
