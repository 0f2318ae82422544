"""Which samples share a micro batch, as rows of indices, and how they become tensors; one layout for each stage.

A plan is a list of micro batches, a micro batch a list of rows, a row a list of units. A unit is a sample, or for `dpo`
two samples: the better answer and the worse one. Only packed rows have more than one unit.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_trainer.batches import Batch, collate, collate_packed, plan_batches
from jeeves_trainer.rendering import RenderedSample, Unit

Rows = list[list[int]]
"""A micro batch: for each row the indices of its units."""

_PACKING_CANDIDATES = 64
"""Open rows that a sample may still go into; more fill rows a little better and cost time."""


def unit_tokens(unit: Unit) -> int:
    """Tokens of a unit."""
    return sum(sample.tokens for sample in unit)


def pack(lengths: Sequence[int], order: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Put samples together into rows, each into the fullest of the open rows that still has room (best fit).

    Args:
        lengths: tokens of each sample, at most `max_tokens`.
        order: indices of the samples, in the order in which they are placed.
        max_tokens: of a row.

    Returns:
        Indices of the samples of each row.
    """
    rows: list[list[int]] = []
    room: dict[int, int] = {}
    for index in order:
        fitting = [row for row, free in room.items() if free >= lengths[index]]
        if fitting:
            row = min(fitting, key=lambda at: room[at])
        else:
            row = len(rows)
            rows.append([])
            room[row] = max_tokens
            if len(room) > _PACKING_CANDIDATES:
                del room[min(room, key=lambda at: room[at])]
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def plan_packed(lengths: Sequence[int], max_tokens: int, batch_rows: int, epochs: float, seed: int) -> list[Rows]:
    """Lay down the micro batches of a whole run of packed rows; other rows in each epoch.

    Args:
        lengths: tokens of each sample, at most `max_tokens`.
        max_tokens: of a row.
        batch_rows: rows of a micro batch.
        epochs: passes over the samples; 1.5 is one and a half.
        seed: of the order.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    batches: list[Rows] = []
    whole = int(epochs)
    for number in range(whole + (epochs > whole)):
        order = list(range(len(lengths)))
        rng.shuffle(order)
        rows = pack(lengths, order, max_tokens)
        rng.shuffle(rows)
        made = [rows[at : at + batch_rows] for at in range(0, len(rows), batch_rows)]
        batches += made if number < whole else made[: round(len(made) * (epochs - whole))]
    return batches or [[[0]]]


def plan_units(units: Sequence[Unit], recipe: TrainRecipe) -> list[Rows]:
    """The micro batches of a whole run, as a recipe wants them."""
    lengths = [unit_tokens(unit) for unit in units]
    if recipe.packs:
        return plan_packed(lengths, recipe.max_length_tokens, recipe.micro_batch_samples, recipe.epochs, recipe.seed)
    plan = plan_batches(lengths, recipe.micro_batch_samples, recipe.epochs, recipe.seed)
    return [[[index] for index in batch] for batch in plan]


def plan_held_out(units: Sequence[Unit], recipe: TrainRecipe) -> list[Rows]:
    """The micro batches of an evaluation: every unit once."""
    lengths = [unit_tokens(unit) for unit in units]
    size = recipe.micro_batch_samples
    by_length = sorted(range(len(units)), key=lengths.__getitem__)
    rows = pack(lengths, by_length[::-1], recipe.max_length_tokens) if recipe.packs else [[at] for at in by_length]
    return [rows[at : at + size] for at in range(0, len(rows), size)]


@dataclass(frozen=True)
class Layout:
    """How the units of a stage become tensors.

    Attributes:
        units: that the indices of a plan mean.
        packed: rows hold several samples.
        pad_id: token for padding.
    """

    units: Sequence[Unit]
    packed: bool
    pad_id: int

    def samples(self, rows: Rows) -> list[list[RenderedSample]]:
        """The samples of each tensor row. Of pairs, first all better answers, then all worse ones."""
        chosen = [[self.units[index] for index in row] for row in rows]
        width = len(chosen[0][0])
        return [[unit[part] for unit in row] for part in range(width) for row in chosen]

    def batch(self, rows: Rows) -> Batch:
        """A micro batch as tensors."""
        samples = self.samples(rows)
        if self.packed:
            return collate_packed(samples, self.pad_id)
        return collate([sample for row in samples for sample in row], self.pad_id)

    def tokens(self, rows: Rows) -> int:
        """Tokens of a micro batch without padding."""
        return sum(unit_tokens(self.units[index]) for row in rows for index in row)

    def answer_tokens(self, rows: Rows) -> int:
        """Labelled tokens of a micro batch."""
        return sum(len(sample.answer_ids) for row in rows for index in row for sample in self.units[index])

    def items(self, rows: Rows) -> int:
        """What a step's loss is the mean over: labelled tokens, or pairs."""
        if len(self.units[0]) > 1:
            return sum(len(row) for row in rows)
        return self.answer_tokens(rows)


class Collator:
    """Turns one planned micro batch, `{"rows": …, "step_items": …}`, into the arguments of the loss.

    Args:
        layout: of the run.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collate the only item; the data loader's own batch size is 1."""
        (item,) = items
        return {**vars(self._layout.batch(item["rows"])), "step_items": item["step_items"]}
