"""Tokens per second of the default recipe, against a bare trl loop on the same model, rows and settings, in one run.

`python tests/bench/training_bench.py [--rounds N] [--steps N] [--threads N] [--llamafactory PYTHON]`, by `make bench`;
`make bench-training` names the interpreter of an environment that has LLaMA-Factory, as a peer besides. Printed, never
asserted. All train the same LoRA on the same rows in the same order of micro batches; the first quarter is warm-up. "As
shipped" is the recipe itself: prompts are read, not learned through, which the peers cannot do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from step_clock import StepClock
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
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
    return after_warm_up(rows, plan, clock.seconds)


def after_warm_up(rows: list[Any], plan: list[Any], seconds: list[float]) -> float:
    """Tokens per second without the first quarter of the steps."""
    tokens = [sum(rows[index].tokens for (index,) in batch) for batch in plan]
    warm = len(plan) // 4
    return sum(tokens[warm:]) / sum(seconds[warm:])


def llamafactory(
    python: Path, recipe: TrainRecipe, *, threads: int, folder: Path, rows: list[Any], plan: list[Any], work: Path
) -> float:
    """Tokens per second of LLaMA-Factory, told the same; it gets prompts and answers as they are (template `empty`)."""
    order = [index for batch in plan for (index,) in batch]
    texts = [
        {"instruction": rows[index].prompt_text, "input": "", "output": rows[index].answer_text} for index in order
    ]
    (work / "rows.json").write_text(json.dumps(texts), encoding="utf-8")
    (work / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")
    settings = {
        "model_name_or_path": str(folder),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": recipe.lora.rank,
        "lora_alpha": recipe.lora.alpha,
        "lora_target": "all",
        "dataset": "rows",
        "dataset_dir": str(work),
        "template": "empty",
        "cutoff_len": recipe.max_length_tokens,
        "disable_shuffling": True,
        "disable_gradient_checkpointing": True,
        "per_device_train_batch_size": recipe.micro_batch_samples,
        "gradient_accumulation_steps": 1,
        "learning_rate": recipe.learning_rate,
        "max_steps": len(plan),
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),
        "output_dir": str(work / "out"),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    spec = work / "spec.json"
    spec.write_text(json.dumps({"settings": settings}), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, Path(__file__).with_name("llamafactory_peer.py"), spec],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"LLaMA-Factory failed: {done.stderr[-3000:]}")
    return after_warm_up(rows, plan, json.loads(done.stdout.strip().splitlines()[-1]))


def ours(recipe: TrainRecipe, *, folder: Path, tokenizer: Any, rows: list[Any], plan: list[Any], work: Path) -> float:
    """Tokens per second of the trainer's own loop, checks and evaluations left out of the time."""
    jobs = JobStore(open_database(f"sqlite:///{work / 'jobs.sqlite'}"))
    job = jobs.submit("trainings", {}, "always").job
    context = JobContext(job.id, work, ArtifactStore(str(work / "store")), jobs)
    units = [(row,) for row in rows]
    tuned = tune(recipe, folder, tokenizer, Samples(units, units[:2]), context)
    tokens = [sum(rows[index].tokens for (index,) in batch) for batch in plan]
    speeds = [point["tokens_per_second"] for point in tuned.curve if "tokens_per_second" in point]
    return after_warm_up(rows, plan, [count / speed for count, speed in zip(tokens, speeds, strict=True)])


BARE, PEER = "bare trl loop", "LLaMA-Factory"
OURS = {"ours, same work": True, "ours, as shipped": False}
"""Whether gradients flow through the prompt."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=8, help="of each variant in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--llamafactory", type=Path, help="interpreter of an environment that has it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    recipe = TrainRecipe.model_validate(yaml.safe_load((JOBS / "train" / "smollm2-135m-cpu.yaml").read_text("utf-8")))
    short = recipe.model_copy(update={"max_steps": arguments.steps, "evaluations_per_run": 1})
    variants = [BARE, *([PEER] if arguments.llamafactory else []), *OURS]
    figures: dict[str, list[float]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        work = Path(folder)
        base = prepare(recipe.base_model, locate(recipe.base_model), work / "base-models", lambda: None).folder
        tokenizer = AutoTokenizer.from_pretrained(base)
        rows = render_all(starter_samples(), Renderer(tokenizer), recipe.max_length_tokens, print)
        plan = plan_units([(row,) for row in rows], recipe)[: arguments.steps]
        for number in range(arguments.rounds):
            # In turn, and each variant first once: what else the machine does meets all of them.
            for at in range(len(variants)):
                name = variants[(at + number) % len(variants)]
                place = work / f"{number}-{at}"
                place.mkdir()
                given: dict[str, Any] = {"folder": base, "rows": rows, "plan": plan, "work": place}
                if name == PEER:
                    speed = llamafactory(arguments.llamafactory, recipe, threads=arguments.threads, **given)
                elif name == BARE:
                    speed = bare_trl(recipe, tokenizer=tokenizer, **given)
                else:
                    same = short.model_copy(update={"prompt_gradient": OURS[name]})
                    speed = ours(same, tokenizer=tokenizer, **given)
                figures[name].append(speed)
                print(f"round {number + 1} of {arguments.rounds}: {name} {speed:.0f} tok/s", flush=True)
    show(recipe.name, figures, f"{arguments.rounds} rounds of {arguments.steps} steps, {arguments.threads} threads")


def show(recipe: str, figures: dict[str, list[float]], how: str) -> None:
    """A table; ratios are of the same round."""
    print(f"\ntraining, {recipe}, {how}; median (lowest … highest)")
    bare = figures[BARE]
    for name, speeds in figures.items():
        ratios = [ours / theirs for ours, theirs in zip(speeds, bare, strict=True)]
        line = f"{name:<18} {median(speeds):>6.0f} tok/s ({min(speeds):.0f} … {max(speeds):.0f})"
        print(f"{line:<48} {median(ratios):>6.0%} ({min(ratios):.0%} … {max(ratios):.0%})   ≥ 90 %")


if __name__ == "__main__":
    main()
