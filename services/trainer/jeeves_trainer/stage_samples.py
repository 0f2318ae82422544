"""What a stage learns from: rows of a data set, rendered by the base model's own tokenizer and chat template."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.forms import DatasetPart, PreferenceRow, TextRow
from jeeves_shared.contracts.manifests import DatasetManifest
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.errors import RecipeError
from jeeves_trainer.rendering import Renderer, Unit, within_length
from jeeves_trainer.samples import read_rows
from jeeves_trainer.stages import stage_rows

Item = TypeVar("Item")


@dataclass(frozen=True)
class Samples:
    """What a run learns from, and what it is measured on."""

    training: Sequence[Unit]
    held_out: Sequence[Unit]


def load_samples(
    recipe: TrainRecipe, dataset: DatasetManifest, store: ArtifactStore, renderer: Renderer, log: Callable[[str], None]
) -> Samples:
    """Read and render what a recipe's stage learns from.

    What is held out is a fixed choice that does not depend on the order of the rows.

    Args:
        recipe: validated.
        dataset: with rows of the stage, see `stage_rows`.
        store: holds its files.
        renderer: of the base model.
        log: told how many samples were left out.

    Raises:
        RecipeError: no rows of the stage, rows of another kind, or all of them too long.
        BaseModelUnusable: as `Renderer.render`.
    """
    made = _render(recipe, dataset, "train", store, renderer)
    return Samples(
        training=within_length(made, recipe.max_length_tokens, log),
        held_out=load_held_out(recipe, dataset, store, renderer, log),
    )


def load_held_out(
    recipe: TrainRecipe, dataset: DatasetManifest, store: ArtifactStore, renderer: Renderer, log: Callable[[str], None]
) -> list[Unit]:
    """Read and render what a recipe's stage is measured on; arguments and errors as of `load_samples`."""
    made = _render(recipe, dataset, "evaluation", store, renderer)
    return within_length(made, recipe.max_length_tokens, log)


def _render(
    recipe: TrainRecipe, dataset: DatasetManifest, part: DatasetPart, store: ArtifactStore, renderer: Renderer
) -> list[Unit]:
    ref = stage_rows(dataset, recipe.stage, part)
    if ref is None:
        raise RecipeError(f"data set {dataset.id} has no {part} rows for stage {recipe.stage}: curate it again")
    limit = recipe.evaluation_samples_max if part == "evaluation" else None
    path, name = store.path(ref), ref.name
    if recipe.stage == "cpt":
        documents = _documents(read_rows(path, TextRow, name))
        pieces: list[Unit] = [
            (piece,)
            for _, heading, body in _chosen(documents, lambda document: document[0], limit)
            for piece in renderer.render_document(heading, body, recipe.max_length_tokens)
        ]
        return pieces[:limit]
    if recipe.stage == "dpo":
        rows = _chosen(read_rows(path, PreferenceRow, name), lambda row: row.id, limit)
        return [_pair(row, renderer) for row in rows]
    samples = _chosen(read_rows(path, TrainingSample, name), lambda sample: sample.pair.id, limit)
    return [(renderer.render(sample),) for sample in samples]


def _chosen(items: Iterable[Item], key: Callable[[Item], str], limit: int | None) -> list[Item]:
    if limit is None:
        return list(items)
    return sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).digest())[:limit]


def _documents(rows: Sequence[TextRow]) -> list[tuple[str, str, str]]:
    """Path, heading and whole text of each document, whose rows are pieces of it in order."""
    documents = []
    for path, pieces in groupby(rows, key=lambda row: row.source_path):
        parts = [row.text.partition("\n\n") for row in pieces]
        documents.append((path, parts[0][0], "\n\n".join(body for _, _, body in parts)))
    return documents


def _pair(row: PreferenceRow, renderer: Renderer) -> Unit:
    messages = [turn.model_dump() for turn in row.prompt]
    return tuple(renderer.render_turn(messages, turns[0].content) for turns in (row.chosen, row.rejected))
