"""Tells those who wait how a training goes, asks for held-out evaluations at planned steps, marks checkpoints."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.checkpoints import CHECKPOINT_PREFIX, mark_complete, prune_checkpoints
from jeeves_trainer.layout import process_count
from jeeves_trainer.loading import training_device
from jeeves_trainer.speed import StepCost, matrix_product_rate, peak_memory_bytes

_TRAINING_SHARE = (0.08, 0.9)
"""Part of the job's progress bar that training fills; before it the model is prepared, after it merged."""


def evaluation_steps(total_steps: int, evaluations: int) -> frozenset[int]:
    """Steps after which to evaluate: evenly spread, the last step always among them.

    Args:
        total_steps: of the run, at least 1.
        evaluations: wanted number, at least 1.
    """
    return frozenset(max(1, round(total_steps * part / evaluations)) for part in range(1, evaluations + 1))


def stopped_improving(losses: Sequence[float], patience: int) -> bool:
    """True if none of the last evaluations was better than the best before them.

    Args:
        losses: held-out, in order; the first is the base's.
        patience: evaluations to wait for; 0 waits for ever.
    """
    if patience == 0 or len(losses) <= patience:
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])


def duration_text(seconds: float) -> str:
    """A duration for people: ``45 s`` or ``2 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@dataclass(frozen=True)
class StepTokens:
    """Tokens of a step without padding, and those of them with a label."""

    tokens: int
    answer_tokens: int


class RunProgress(TrainerCallback):
    """Callback of one run.

    Args:
        context: of the job.
        evaluate_after: from `evaluation_steps`.
        steps: what each step reads, first step first.
        checkpoints: folder of the checkpoints.
        patience: as in `stopped_improving`.
        cost: of a step; None if the model's shape is not known.
        dtype: that the run computes in.
    """

    def __init__(
        self,
        context: JobContext,
        evaluate_after: frozenset[int],
        steps: Sequence[StepTokens],
        checkpoints: Path,
        *,
        patience: int,
        cost: StepCost | None,
        dtype: torch.dtype,
    ) -> None:
        self._patience = patience
        self._cost = cost
        self._dtype = dtype
        self._device = training_device()
        self._device_rate = 0.0
        self._step_seconds = 0.0
        self._step = 0
        self._context = context
        self._evaluate_after = evaluate_after
        self._steps = steps
        self._checkpoints = checkpoints
        self._figures: dict[str, float] = {}
        self._training_seconds = 0.0
        self._trained_tokens = 0
        self._step_started = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of the steps of this process, without evaluations; 0 before the first."""
        return self._trained_tokens / self._training_seconds if self._training_seconds else 0.0

    def step_figures(self) -> dict[str, float]:
        """Speed of the last step, memory used so far, and the share of the device's speed; those that are known."""
        if not self._step_seconds:
            return {}
        done = self._steps[self._step - 1]
        figures = {
            "tokens_per_second": done.tokens / self._step_seconds,
            "memory_bytes": float(peak_memory_bytes(self._device)),
        }
        if self._cost is not None and self._device_rate:
            operations = self._cost.operations(done.tokens, done.answer_tokens)
            figures["mfu"] = operations / self._step_seconds / self._device_rate
        return figures

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure what the device can do."""
        if self._cost is not None:
            self._device_rate = matrix_product_rate(self._device, self._dtype) * process_count()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self._step_started = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Report, and ask for an evaluation and a checkpoint where one is planned.

        Raises:
            JobCancelled: the job was asked to stop.
        """
        self._step = state.global_step
        self._step_seconds = time.monotonic() - self._step_started
        self._training_seconds += self._step_seconds
        self._trained_tokens += self._steps[state.global_step - 1].tokens
        control.should_evaluate = control.should_save = state.global_step in self._evaluate_after
        self._report(state)
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keep the latest figures for the next report."""
        for name, key in (("loss", "loss"), ("eval_loss", "held_out_loss"), ("learning_rate", "learning_rate")):
            if logs and name in logs:
                self._figures[key] = float(logs[name])
        self._report(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """End the run when the held-out loss has stopped improving; the history survives a resume."""
        losses = [float(entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]
        if stopped_improving(losses, self._patience):
            self._context.log(f"held-out loss has not improved in {self._patience} evaluations: stopping early")
            control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Mark the checkpoint that was just written, and keep only it and the best one: whole models are large."""
        if process_count() > 1:
            PartialState().wait_for_everyone()  # each process writes its own random state there
        if not state.is_world_process_zero:
            return
        mark_complete(self._checkpoints / f"{CHECKPOINT_PREFIX}{state.global_step}")
        losses = {
            int(item["step"]): item["eval_loss"] for item in state.log_history if item.get("eval_loss") is not None
        }
        best = min((step for step in losses if step > 0), key=lambda step: (losses[step], step))
        prune_checkpoints(self._checkpoints, {best, state.global_step})

    def _report(self, state: TrainerState) -> None:
        total = len(self._steps)
        parts = [f"step {state.global_step}/{total}"]
        if "loss" in self._figures:
            parts.append(f"loss {self._figures['loss']:.2f}")
        if "held_out_loss" in self._figures:
            parts.append(f"held-out {self._figures['held_out_loss']:.2f}")
        figures = {"step": float(state.global_step), "steps": float(total), **self._figures, **self.step_figures()}
        if speed := self.tokens_per_second:
            left = sum(step.tokens for step in self._steps[state.global_step :]) / speed
            parts += [f"{speed:.0f} tok/s", f"{duration_text(left)} left"]
            figures["tokens_per_second"] = speed
        start, end = _TRAINING_SHARE
        self._context.report(start + (end - start) * state.global_step / total, " · ".join(parts), **figures)
