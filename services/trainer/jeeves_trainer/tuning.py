"""All stages by trl's `SFTTrainer`: our batches and our losses; its loop, optimizer, checkpoints, resume."""

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.batches import Batch, check_labels
from jeeves_trainer.checkpoints import CHECKPOINT_PREFIX, resume_point
from jeeves_trainer.four_bit import restore_adapter_precision
from jeeves_trainer.gradient_check import check_gradients
from jeeves_trainer.layout import checkpoints_folder, micro_batch_note, process_count
from jeeves_trainer.layouts import Collator, Layout, Rows, plan_held_out, plan_units, unit_tokens
from jeeves_trainer.loading import load_for_training
from jeeves_trainer.memory import shape_of_config
from jeeves_trainer.objectives import Objective, objective_of
from jeeves_trainer.out_of_memory import within_memory
from jeeves_trainer.progress import RunProgress, StepTokens, evaluation_steps
from jeeves_trainer.rendering import Renderer, Unit
from jeeves_trainer.speed import StepCost
from jeeves_trainer.stage_samples import Samples

logger = logging.getLogger(__name__)

_NEVER_STEPS = 10**9
"""For trl's own schedule of evaluations and checkpoints: `RunProgress` asks for them."""

_CHECKED_BATCHES = 8
_CHECK_SAMPLES = 2

CURVE = ("loss", "eval_loss", "eval_accuracy", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes", "mfu")
"""What is kept of each step, beside its number."""


@dataclass(frozen=True)
class Tuned:
    """What a run brought.

    Attributes:
        folder: the checkpoint with the lowest held-out loss; a peft adapter lies in it, or whole weights.
        steps: of the run.
        best_step: of `folder`.
        train_loss: of the last step, nats per labelled token (`dpo`: per pair).
        eval_loss_before, eval_loss: held-out, of the base and of `folder`, in the same unit.
        tokens_per_second: of the training steps.
        curve: one entry a step, of those of `CURVE` that there are.
    """

    folder: Path
    steps: int
    best_step: int
    train_loss: float
    eval_loss_before: float
    eval_loss: float
    tokens_per_second: float
    curve: list[dict[str, float]]


class StageTrainer(SFTTrainer):
    """`SFTTrainer` with the objective of a stage: logits for labelled tokens only, every held-out item weighed alike.

    Args:
        held_out: batches to evaluate on.
        objective: of the stage.
        figures: of the step that has just ended, to stand beside its loss.
        options: of `SFTTrainer`.
    """

    loss_is_scaled_for_ga: Any = True

    def __init__(
        self,
        *,
        held_out: list[Batch],
        objective: Objective,
        figures: Callable[[], dict[str, float]],
        **options: Any,
    ) -> None:
        self._held_out = held_out
        self._objective = objective
        self._figures = figures
        self._plain: Any = options["model"]
        self._processes = process_count()
        if self._processes > 1:
            # Wrappers for several processes act when they are called, so work goes through a call of the model.
            self._plain.forward = _run
        super().__init__(**options)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean over the items of the whole step, however many micro batches it has."""
        step_items: int = inputs.pop("step_items")
        batch = Batch(**inputs)
        total: torch.Tensor = self._through(model, lambda: self._objective.loss_sum(self._plain, batch))
        return total * self._processes / step_items  # gradients of several processes are averaged

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Held-out figures."""
        model = self.model if self.model_wrapped is None else self.model_wrapped
        with (
            torch.no_grad()
        ):  # around the wrapper too: DDP takes a call with gradients for the begin of a backward pass
            metrics: dict[str, float] = self._through(
                model, lambda: self._objective.held_out(self._plain, self._held_out)
            )
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _through(self, model: Any, work: Callable[[], Any]) -> Any:
        return model(work) if self._processes > 1 else work()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep figures in the history, which a checkpoint holds and a resumed run goes on with."""
        super().log({**logs, **self._figures()} if "loss" in logs else logs, start_time)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: the card of a model version is written from its manifest."""


def _run(work: Callable[[], Any]) -> Any:
    return work()


def tune(
    recipe: TrainRecipe,
    base_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples,
    context: JobContext,
) -> Tuned:
    """Train, or go on from the last complete checkpoint; with smaller micro batches where memory runs out.

    Args:
        recipe: validated.
        base_folder: Hugging Face folder of the base model.
        tokenizer: of the base model.
        samples: that fit the recipe's length.
        context: of the job; its work folder gets the checkpoints.

    Raises:
        LabelsWrong, GradientsWrong: the checks before the run failed.
        OutOfMemory: not even one sample at a time fits.
        JobCancelled: the job was asked to stop.
    """
    if process_count() > 1:
        # One process cannot step down alone, the others would wait for it: the launcher ends them all.
        return _tune(recipe, base_folder, tokenizer, samples, context)
    checkpoints = checkpoints_folder(context.work_dir)
    return within_memory(
        recipe,
        lambda fitting: _tune(fitting, base_folder, tokenizer, samples, context),
        lambda: shutil.rmtree(checkpoints, ignore_errors=True),
        micro_batch_note(context.work_dir),
        context.log,
    )


def _tune(
    recipe: TrainRecipe,
    base_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples,
    context: JobContext,
) -> Tuned:
    renderer = Renderer(tokenizer)
    layout = Layout(samples.training, recipe.packs, renderer.end_token)  # pads are never attended to, never labelled
    plan = _plan(recipe, samples.training)
    shared = recipe.gradient_accumulation * process_count()
    steps = _steps(layout, plan, shared)
    model = load_for_training(recipe, base_folder)
    context.log(_check(recipe, model, layout, plan, renderer))
    checkpoints = checkpoints_folder(context.work_dir)
    resume = resume_point(checkpoints)
    shape = shape_of_config(base_folder / "config.json")
    progress = RunProgress(
        context,
        evaluation_steps(len(steps), recipe.evaluations_per_run),
        steps,
        checkpoints,
        patience=recipe.early_stopping_evaluations,
        cost=StepCost(shape, recipe) if shape else None,
        dtype=torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32,
    )
    objective = objective_of(recipe)
    trainer = StageTrainer(
        held_out=_held_out_batches(samples.held_out, recipe, renderer.end_token),
        objective=objective,
        figures=progress.step_figures,
        model=model,
        args=_arguments(recipe, checkpoints, steps=len(steps), resumed=resume is not None),
        train_dataset=Dataset.from_dict({"rows": plan, "step_items": _step_items(layout, plan, shared)}),
        processing_class=tokenizer,
        data_collator=Collator(layout),
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)
    restore_adapter_precision(model)
    if resume:
        context.log(f"resuming from {resume.name}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return _outcome(trainer.state.log_history, checkpoints, trainer.state.global_step, progress.tokens_per_second)


def _plan(recipe: TrainRecipe, training: Sequence[Unit]) -> list[Rows]:
    """The micro batches of all processes: the first of each takes the first of them, and so on in turn.

    Raises:
        RecipeError: there are fewer micro batches than processes.
    """
    processes = process_count()
    plan = plan_units(training, recipe)
    if recipe.max_steps:
        plan = plan[: recipe.max_steps * recipe.gradient_accumulation * processes]
    if len(plan) < processes:
        raise RecipeError(
            f"{len(plan)} micro batches for {processes} processes: lower processes or micro_batch_samples."
        )
    return plan[: len(plan) // processes * processes]


def _steps(layout: Layout, plan: Sequence[Rows], accumulation: int) -> list[StepTokens]:
    return [
        StepTokens(
            sum(layout.tokens(rows) for rows in plan[at : at + accumulation]),
            sum(layout.answer_tokens(rows) for rows in plan[at : at + accumulation]),
        )
        for at in range(0, len(plan), accumulation)
    ]


def _step_items(layout: Layout, plan: Sequence[Rows], accumulation: int) -> list[int]:
    """For each micro batch, the items of the step that it belongs to."""
    items: list[int] = []
    for at in range(0, len(plan), accumulation):
        group = plan[at : at + accumulation]
        items += [sum(layout.items(rows) for rows in group)] * len(group)
    return items


def _check(recipe: TrainRecipe, model: Any, layout: Layout, plan: Sequence[Rows], renderer: Renderer) -> str:
    """Check labels on the run's first batches and gradients on a small one; says what was found."""
    for rows in plan[:_CHECKED_BATCHES]:
        check_labels(layout.batch(rows), layout.samples(rows), renderer)
    by_length = sorted(range(len(layout.units)), key=lambda index: unit_tokens(layout.units[index]))
    middle = by_length[len(by_length) // 2 :][:_CHECK_SAMPLES]
    error = check_gradients(
        model,
        layout.batch([middle] if layout.packed else [[index] for index in middle]),
        bfloat16=recipe.dtype == "bfloat16",
        prompt_gradient=recipe.prompt_gradient,
        seed=recipe.seed,
    )
    checked = min(len(plan), _CHECKED_BATCHES)
    return f"labels right on {checked} batches, gradient within {error:.2%} of float32"


def _held_out_batches(units: Sequence[Unit], recipe: TrainRecipe, pad_id: int) -> list[Batch]:
    layout = Layout(units, recipe.packs, pad_id)
    return [layout.batch(rows) for rows in plan_held_out(units, recipe)]


def _arguments(recipe: TrainRecipe, checkpoints: Path, *, steps: int, resumed: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=str(checkpoints),
        max_steps=steps,
        num_train_epochs=1,
        per_device_train_batch_size=1,  # an item is a whole micro batch
        train_sampling_strategy="sequential",
        gradient_accumulation_steps=recipe.gradient_accumulation,
        gradient_checkpointing=False,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        max_grad_norm=recipe.max_grad_norm,
        weight_decay=recipe.weight_decay,
        optim=recipe.optimizer if torch.cuda.is_available() else "adamw_torch",  # pages are a GPU's; equal updates
        bf16=False,  # autocast is part of the loss
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        data_seed=recipe.seed,
        logging_steps=1,
        eval_on_start=not resumed,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=_NEVER_STEPS,
        save_total_limit=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )


def _outcome(history: Sequence[dict[str, float]], checkpoints: Path, steps: int, tokens_per_second: float) -> Tuned:
    curve: dict[int, dict[str, float]] = {}
    for entry in history:
        point = curve.setdefault(int(entry["step"]), {"step": entry["step"]})
        for name in CURVE:
            if name in entry:
                point[name] = float(entry[name])
    points = [curve[step] for step in sorted(curve)]
    held_out = {int(point["step"]): point["eval_loss"] for point in points if "eval_loss" in point}
    best = min((step for step in held_out if step > 0), key=lambda step: (held_out[step], step))
    return Tuned(
        folder=checkpoints / f"{CHECKPOINT_PREFIX}{best}",
        steps=steps,
        best_step=best,
        train_loss=next(point["loss"] for point in reversed(points) if "loss" in point),
        eval_loss_before=held_out[0],
        eval_loss=held_out[best],
        tokens_per_second=tokens_per_second,
        curve=points,
    )


def curve_lines(curve: Sequence[dict[str, float]]) -> bytes:
    """A curve as JSON Lines."""
    return "".join(f"{json.dumps(point)}\n" for point in curve).encode()
