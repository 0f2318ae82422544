"""Reading the samples of a data set."""

from pathlib import Path

from pydantic import ValidationError

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.errors import RecipeError


def read_samples(path: Path) -> list[TrainingSample]:
    """Read a JSON Lines file of training samples.

    Raises:
        RecipeError: a line is no such sample.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [TrainingSample.model_validate_json(line) for line in file if line.strip()]
    except ValidationError as exc:
        raise RecipeError(f"{path.name} is no file of training samples: {exc.errors()[0]['msg']}") from exc
