"""Tells those who wait how a training goes, asks for held-out evaluations at planned steps, marks checkpoints."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.checkpoints import CHECKPOINT_PREFIX, mark_complete

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


class RunProgress(TrainerCallback):
    """Callback of one run.

    Args:
        context: of the job.
        evaluate_after: from `evaluation_steps`.
        step_tokens: tokens of each step, first step first.
        checkpoints: folder of the checkpoints.
        patience: as in `stopped_improving`.
    """

    def __init__(
        self,
        context: JobContext,
        evaluate_after: frozenset[int],
        step_tokens: list[int],
        checkpoints: Path,
        patience: int = 0,
    ) -> None:
        self._patience = patience
        self._context = context
        self._evaluate_after = evaluate_after
        self._step_tokens = step_tokens
        self._checkpoints = checkpoints
        self._figures: dict[str, float] = {}
        self._training_seconds = 0.0
        self._trained_tokens = 0
        self._step_started = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Of the steps of this process, without evaluations; 0 before the first."""
        return self._trained_tokens / self._training_seconds if self._training_seconds else 0.0

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
        self._training_seconds += time.monotonic() - self._step_started
        self._trained_tokens += self._step_tokens[state.global_step - 1]
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
        """Mark the checkpoint that was just written."""
        mark_complete(self._checkpoints / f"{CHECKPOINT_PREFIX}{state.global_step}")

    def _report(self, state: TrainerState) -> None:
        total = len(self._step_tokens)
        parts = [f"step {state.global_step}/{total}"]
        if "loss" in self._figures:
            parts.append(f"loss {self._figures['loss']:.2f}")
        if "held_out_loss" in self._figures:
            parts.append(f"held-out {self._figures['held_out_loss']:.2f}")
        figures = {"step": float(state.global_step), "steps": float(total), **self._figures}
        if speed := self.tokens_per_second:
            left = sum(self._step_tokens[state.global_step :]) / speed
            parts += [f"{speed:.0f} tok/s", f"{duration_text(left)} left"]
            figures["tokens_per_second"] = speed
        start, end = _TRAINING_SHARE
        self._context.report(start + (end - start) * state.global_step / total, " · ".join(parts), **figures)
