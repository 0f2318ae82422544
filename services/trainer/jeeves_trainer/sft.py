"""Supervised fine-tuning by trl's `SFTTrainer`: our batches and our loss; its loop, optimizer, checkpoints, resume."""

import json
import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.batches import Batch, Collator, check_labels, collate, plan_batches
from jeeves_trainer.checkpoints import CHECKPOINT_PREFIX, resume_point
from jeeves_trainer.four_bit import load_four_bit, restore_adapter_precision
from jeeves_trainer.gradient_check import check_gradients
from jeeves_trainer.layout import checkpoints_folder, micro_batch_note
from jeeves_trainer.loss import answer_loss_sum, mean_answer_loss
from jeeves_trainer.out_of_memory import within_memory
from jeeves_trainer.progress import RunProgress, evaluation_steps
from jeeves_trainer.rendering import RenderedSample, Renderer

logger = logging.getLogger(__name__)

_NEVER_STEPS = 10**9
"""For trl's own schedule of evaluations and checkpoints: `RunProgress` asks for them."""

_CHECKED_BATCHES = 8
_CHECK_SAMPLES = 2


@dataclass(frozen=True)
class Samples:
    """What a run learns from, and what it is measured on."""

    training: Sequence[RenderedSample]
    held_out: Sequence[RenderedSample]


@dataclass(frozen=True)
class TunedAdapter:
    """What a run brought.

    Attributes:
        folder: the checkpoint with the lowest held-out loss; a peft adapter lies in it.
        steps: of the run.
        best_step: of `folder`.
        train_loss: of the last step, nats per answer token.
        eval_loss_before, eval_loss: held-out, of the base and of `folder`, nats per answer token.
        tokens_per_second: of the training steps.
        curve: one entry a step: step, loss, eval_loss, learning_rate, grad_norm; those that there are.
    """

    folder: Path
    steps: int
    best_step: int
    train_loss: float
    eval_loss_before: float
    eval_loss: float
    tokens_per_second: float
    curve: list[dict[str, float]]


class AnswerTrainer(SFTTrainer):
    """`SFTTrainer` that computes logits for answer tokens only and weighs every held-out token alike.

    Args:
        held_out: batches to evaluate on.
        bfloat16, prompt_gradient: as in `answer_loss_sum`.
        options: of `SFTTrainer`.
    """

    loss_is_scaled_for_ga: Any = True

    def __init__(self, *, held_out: list[Batch], bfloat16: bool, prompt_gradient: bool, **options: Any) -> None:
        self._held_out = held_out
        self._bfloat16 = bfloat16
        self._prompt_gradient = prompt_gradient
        super().__init__(**options)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Nats per answer token of the whole step, however many micro batches it has."""
        batch = Batch(**inputs)
        total = answer_loss_sum(model, batch, bfloat16=self._bfloat16, prompt_gradient=self._prompt_gradient)
        return total / (batch.label_count if num_items_in_batch is None else num_items_in_batch)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Held-out loss, nats per answer token."""
        model: Any = self.model
        metrics = {"eval_loss": mean_answer_loss(model, self._held_out, bfloat16=self._bfloat16)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Nothing: the card of a model version is written from its manifest."""


def tune(
    recipe: TrainRecipe,
    base_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples,
    context: JobContext,
) -> TunedAdapter:
    """Train an adapter, or go on from the last complete checkpoint; with smaller micro batches where memory runs out.

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
) -> TunedAdapter:
    renderer = Renderer(tokenizer)
    pad_id = renderer.end_token  # never attended to, never labelled
    plan = _plan(recipe, samples.training)
    step_tokens = _tokens_by_step(samples.training, plan, recipe.gradient_accumulation)
    model = _model_with_adapter(recipe, base_folder)
    context.log(_check(recipe, model, samples.training, plan, renderer))
    checkpoints = checkpoints_folder(context.work_dir)
    resume = resume_point(checkpoints)
    evaluate_after = evaluation_steps(len(step_tokens), recipe.evaluations_per_run)
    progress = RunProgress(
        context, evaluate_after, step_tokens, checkpoints, patience=recipe.early_stopping_evaluations
    )
    trainer = AnswerTrainer(
        held_out=_held_out_batches(samples.held_out, recipe, pad_id),
        bfloat16=recipe.dtype == "bfloat16",
        prompt_gradient=recipe.prompt_gradient,
        model=model,
        args=_arguments(recipe, checkpoints, steps=len(step_tokens), resumed=resume is not None),
        train_dataset=Dataset.from_dict({"rows": plan}),
        processing_class=tokenizer,
        data_collator=Collator(samples.training, pad_id),
        callbacks=[progress],
    )
    trainer.remove_callback(PrinterCallback)
    restore_adapter_precision(model)
    if resume:
        context.log(f"resuming from {resume.name}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return _outcome(trainer.state.log_history, checkpoints, trainer.state.global_step, progress.tokens_per_second)


def _plan(recipe: TrainRecipe, training: Sequence[RenderedSample]) -> list[list[int]]:
    lengths = [sample.tokens for sample in training]
    plan = plan_batches(lengths, recipe.micro_batch_samples, recipe.epochs, recipe.seed)
    return plan[: recipe.max_steps * recipe.gradient_accumulation] if recipe.max_steps else plan


def _check(
    recipe: TrainRecipe,
    model: PeftModel,
    training: Sequence[RenderedSample],
    plan: Sequence[Sequence[int]],
    renderer: Renderer,
) -> str:
    """Check labels on the run's first batches and gradients on a small one; says what was found."""
    pad_id = renderer.end_token
    for rows in plan[:_CHECKED_BATCHES]:
        rendered = [training[row] for row in rows]
        check_labels(collate(rendered, pad_id), rendered, renderer)
    middle = sorted(training, key=lambda sample: sample.tokens)[len(training) // 2 :][:_CHECK_SAMPLES]
    error = check_gradients(
        model,
        collate(middle, pad_id),
        bfloat16=recipe.dtype == "bfloat16",
        prompt_gradient=recipe.prompt_gradient,
        seed=recipe.seed,
    )
    checked = min(len(plan), _CHECKED_BATCHES)
    return f"labels right on {checked} batches, gradient within {error:.2%} of float32"


def training_device() -> torch.device:
    """Where a run computes: the current GPU, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _model_with_adapter(recipe: TrainRecipe, base_folder: Path) -> PeftModel:
    # The base stays in bfloat16 (or 4 bits) and frozen, the adapter is float32: small updates would be lost in 8 bits.
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else torch.float32
    torch.manual_seed(recipe.seed)
    base: Any
    if recipe.method == "qlora":
        base = load_four_bit(str(base_folder), dtype, training_device())
    else:
        base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=dtype)
        base.to(training_device())
    if recipe.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    lora = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=recipe.lora.target_modules
        if isinstance(recipe.lora.target_modules, str)
        else list(recipe.lora.target_modules),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, lora)


def _held_out_batches(samples: Sequence[RenderedSample], recipe: TrainRecipe, pad_id: int) -> list[Batch]:
    by_length = sorted(samples, key=lambda sample: sample.tokens)
    size = recipe.micro_batch_samples
    return [collate(by_length[at : at + size], pad_id) for at in range(0, len(by_length), size)]


def _tokens_by_step(samples: Sequence[RenderedSample], plan: Sequence[Sequence[int]], accumulation: int) -> list[int]:
    tokens = [sum(samples[row].tokens for row in rows) for rows in plan]
    return [sum(tokens[at : at + accumulation]) for at in range(0, len(tokens), accumulation)]


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


def _outcome(
    history: Sequence[dict[str, float]], checkpoints: Path, steps: int, tokens_per_second: float
) -> TunedAdapter:
    curve: dict[int, dict[str, float]] = {}
    for entry in history:
        point = curve.setdefault(int(entry["step"]), {"step": entry["step"]})
        for name in ("loss", "eval_loss", "learning_rate", "grad_norm"):
            if name in entry:
                point[name] = float(entry[name])
    points = [curve[step] for step in sorted(curve)]
    held_out = {int(point["step"]): point["eval_loss"] for point in points if "eval_loss" in point}
    best = min((step for step in held_out if step > 0), key=lambda step: (held_out[step], step))
    return TunedAdapter(
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
