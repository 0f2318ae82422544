"""Reading the rows of a data set."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.errors import RecipeError

Row = TypeVar("Row", bound=Contract)


def read_rows(path: Path, kind: type[Row], name: str = "") -> list[Row]:
    """Read a JSON Lines file.

    Args:
        path: of the file.
        kind: of its lines.
        name: for messages, where the path is only a number.

    Raises:
        RecipeError: a line is no such row.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [kind.model_validate_json(line) for line in file if line.strip()]
    except ValidationError as exc:
        raise RecipeError(f"{name or path.name} is no file of {kind.__name__}: {exc.errors()[0]['msg']}") from exc


def read_samples(path: Path) -> list[TrainingSample]:
    """Read a JSON Lines file of training samples.

    Raises:
        RecipeError: a line is no such sample.
    """
    return read_rows(path, TrainingSample)
