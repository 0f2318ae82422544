"""Tokens per second of the default recipe, against a bare trl loop on the same model, rows and settings, in one run.

`python tests/bench/training_bench.py [--steps N] [--threads N]`; `make bench` calls it. Printed, never asserted. Both
loops train the same LoRA on the same rows in the same order of micro batches; steps of the first quarter are warm-up.
The third line is the recipe as it ships: prompts are read, not learned through, which a bare loop cannot do.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Pair, Passage, TrainingSample
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import locate
from jeeves_trainer.base_preparation import prepare
from jeeves_trainer.layouts import plan_units
from jeeves_trainer.rendering import Renderer, render_all
from jeeves_trainer.stage_samples import Samples
from jeeves_trainer.tuning import tune

JOBS = Path(__file__).resolve().parents[2] / "training-jobs"


class StepClock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def starter_samples() -> list[TrainingSample]:
    """Questions of the starter pack, each among the answers to two others."""
    files = sorted((JOBS / "starter-pack" / "pairs").glob("*.jsonl"))
    pairs = [Pair.model_validate_json(line) for file in files for line in file.read_text("utf-8").splitlines()]

    def passage(pair: Pair) -> Passage:
        return Passage(
            section_id=pair.id,
            source_path=pair.source_path,
            url="",
            title=pair.section,
            section=pair.section,
            text=pair.answer,
            licence="CC-BY-4.0",
        )

    return [
        TrainingSample(
            pair=pair, passages=tuple(passage(pairs[(at + step) % len(pairs)]) for step in (0, 7, 13)), answerable=True
        )
        for at, pair in enumerate(pairs)
    ]


def bare_trl(
    recipe: TrainRecipe, *, folder: Path, tokenizer: Any, rows: list[Any], plan: list[Any], work: Path
) -> float:
    """Tokens per second of trl as its documentation starts it: LoRA in bfloat16, loss on the completion."""
    order = [index for batch in plan for (index,) in batch]
    data = Dataset.from_list(
        [{"prompt": rows[index].prompt_text, "completion": rows[index].answer_text} for index in order]
    )
    clock = StepClock()
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
        args=SFTConfig(
            output_dir=str(work),
            max_steps=len(plan),
            per_device_train_batch_size=recipe.micro_batch_samples,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            learning_rate=recipe.learning_rate,
            max_length=recipe.max_length_tokens,
            completion_only_loss=True,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tokens = [sum(rows[index].tokens for (index,) in batch) for batch in plan]
    warm = len(plan) // 4
    return sum(tokens[warm:]) / sum(clock.seconds[warm:])


def ours(recipe: TrainRecipe, *, folder: Path, tokenizer: Any, rows: list[Any], plan: list[Any], work: Path) -> float:
    """Tokens per second of the trainer's own loop, checks and evaluations left out of the time."""
    jobs = JobStore(open_database(f"sqlite:///{work / 'jobs.sqlite'}"))
    job = jobs.submit("trainings", {}, "always").job
    context = JobContext(job.id, work, ArtifactStore(str(work / "store")), jobs)
    units = [(row,) for row in rows]
    tuned = tune(recipe, folder, tokenizer, Samples(units, units[:2]), context)
    tokens = [sum(rows[index].tokens for (index,) in batch) for batch in plan]
    warm = len(plan) // 4
    speeds = [point["tokens_per_second"] for point in tuned.curve if "tokens_per_second" in point]
    seconds = [count / speed for count, speed in zip(tokens, speeds, strict=True)]
    return sum(tokens[warm:]) / sum(seconds[warm:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    recipe = TrainRecipe.model_validate(yaml.safe_load((JOBS / "train" / "smollm2-135m-cpu.yaml").read_text("utf-8")))
    short = {"max_steps": arguments.steps, "evaluations_per_run": 1}
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        work = Path(folder)
        base = prepare(recipe.base_model, locate(recipe.base_model), work / "base-models", lambda: None).folder
        tokenizer = AutoTokenizer.from_pretrained(base)
        rows = render_all(starter_samples(), Renderer(tokenizer), recipe.max_length_tokens, print)
        plan = plan_units([(row,) for row in rows], recipe)[: arguments.steps]
        figures: dict[str, float] = {}
        for name, change in (("bare trl loop", None), ("ours, same work", True), ("ours, as shipped", False)):
            place = work / name.replace(" ", "-").replace(",", "")
            place.mkdir()
            if change is None:
                figures[name] = bare_trl(recipe, folder=base, tokenizer=tokenizer, rows=rows, plan=plan, work=place)
            else:
                wanted = recipe.model_copy(update={**short, "prompt_gradient": change})
                figures[name] = ours(wanted, folder=base, tokenizer=tokenizer, rows=rows, plan=plan, work=place)
    print(f"\ntraining, {recipe.name}, {arguments.steps} steps, {arguments.threads} threads")
    for name, value in figures.items():
        print(f"{name:<40} {value:>8.0f} tok/s {value / figures['bare trl loop']:>8.0%}   ≥ 90 %")


if __name__ == "__main__":
    main()
