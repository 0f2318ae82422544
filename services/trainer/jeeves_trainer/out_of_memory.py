"""A run that does not fit starts again with smaller micro batches and more accumulation: the same effective batch."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_trainer.errors import OutOfMemory
from jeeves_trainer.memory import smaller_micro_batches

T = TypeVar("T")
_CPU_ALLOCATOR = "DefaultCPUAllocator"


def is_out_of_memory(error: RuntimeError) -> bool:
    """True if torch could not get memory, on whichever device."""
    return isinstance(error, torch.OutOfMemoryError) or _CPU_ALLOCATOR in str(error)


def within_memory(
    recipe: TrainRecipe,
    attempt: Callable[[TrainRecipe], T],
    restart: Callable[[], None],
    note: Path,
    log: Callable[[str], None],
) -> T:
    """Run a training, smaller and smaller until it fits.

    Args:
        recipe: as it was given.
        attempt: runs one; its outcome.
        restart: removes what a broken attempt left, since other micro batches come in another order.
        note: file that remembers the micro batch for a job that is resumed.
        log: told about each step down.

    Raises:
        OutOfMemory: not even one sample at a time fits.
        RuntimeError: of the attempt, if it is about something else.
    """
    while note.is_file() and recipe.micro_batch_samples > json.loads(note.read_text(encoding="utf-8")):
        recipe = smaller_micro_batches(recipe)
    while True:
        try:
            return attempt(recipe)
        except RuntimeError as exc:
            if not is_out_of_memory(exc):
                raise
            if recipe.micro_batch_samples == 1:
                raise OutOfMemory(
                    "Not even one sample at a time fits the device: `jeeves train --dry-run` says what to change."
                ) from exc
        # Out of the except block: the traceback would keep the tensors alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        before = recipe.micro_batch_samples
        recipe = smaller_micro_batches(recipe)
        write_atomic(note, json.dumps(recipe.micro_batch_samples).encode())
        restart()
        log(
            f"out of memory with {before} samples a micro batch: again with {recipe.micro_batch_samples}, accumulated "
            f"{recipe.gradient_accumulation} times; the effective batch is the same"
        )
