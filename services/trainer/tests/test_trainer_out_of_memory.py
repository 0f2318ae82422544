"""Stepping down where memory runs out, and stopping where nothing improves; the best checkpoint counts."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.recipes import BaseModelSource, LoraSettings, TrainRecipe
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.errors import OutOfMemory
from jeeves_trainer.out_of_memory import within_memory
from jeeves_trainer.progress import stopped_improving
from jeeves_trainer.rendering import Renderer, render_all
from jeeves_trainer.stage_samples import Samples
from jeeves_trainer.tuning import tune

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def recipe() -> TrainRecipe:
    return TrainRecipe(
        name="tiny",
        model_name="jeeves-tiny",
        base_model=BaseModelSource(name="Tiny", location="folder", licence="Apache-2.0"),
        lora=LoraSettings(rank=4, alpha=8),
        learning_rate=2e-2,
        epochs=1,
        micro_batch_samples=6,
        gradient_accumulation=2,
        max_length_tokens=1024,
    )


def test_steps_down_until_it_fits_and_remembers_it(recipe, tmp_path: Path):
    tried: list[tuple[int, int]] = []
    restarts: list[int] = []
    lines: list[str] = []

    def attempt(fitting: TrainRecipe) -> str:
        tried.append((fitting.micro_batch_samples, fitting.gradient_accumulation))
        if fitting.micro_batch_samples > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if fitting.micro_batch_samples > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return "done"

    note = tmp_path / "note.json"
    run = (attempt, lambda: restarts.append(1), note, lines.append)
    assert within_memory(recipe, *run) == "done"
    # 6 · 2 = 12 samples a step: 3 and 4, then 1 and 12.
    assert tried == [(6, 2), (3, 4), (1, 12)]
    assert len(restarts) == 2 and "same" in lines[0]
    assert json.loads(note.read_text()) == 1
    tried.clear()
    assert within_memory(recipe, *run) == "done"
    assert tried == [(1, 12)]


def test_what_cannot_fit_says_so_and_other_errors_pass(recipe, tmp_path: Path):
    def full(_: TrainRecipe) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(_: TrainRecipe) -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(OutOfMemory, match="dry-run"):
        within_memory(recipe, full, lambda: None, tmp_path / "a", lambda _: None)
    with pytest.raises(RuntimeError, match="size mismatch"):
        within_memory(recipe, broken, lambda: None, tmp_path / "b", lambda _: None)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("losses", "patience", "stopped"),
    [
        ([2.0, 1.5, 1.6, 1.7], 2, True),
        ([2.0, 1.5, 1.6, 1.4], 2, False),
        ([2.0, 1.5, 1.6], 2, False),
        ([2.0, 2.1], 1, True),
        ([2.0, 2.1, 2.2], 0, False),
        ([2.0], 1, False),
    ],
)
def test_when_a_run_has_stopped_improving(losses: list[float], patience: int, stopped: bool):
    assert stopped_improving(losses, patience) is stopped


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    jobs = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    job = jobs.submit("trainings", {}, "always").job
    return JobContext(job.id, tmp_path, ArtifactStore(str(tmp_path / "store")), jobs)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_run_made_to_overfit_stops_early_and_its_best_checkpoint_counts(
    recipe, context, tiny_model, samples, method: str
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    renderer = Renderer(tokenizer)
    rows = [sample for sample in samples if not sample.passages]
    log: list[str] = []
    training = render_all(rows[:4], renderer, 512, log.append)
    held_out = render_all(rows[20:26], renderer, 512, log.append)
    greedy = recipe.model_copy(
        update={
            "method": method,
            "epochs": 40,
            "micro_batch_samples": 4,
            "gradient_accumulation": 1,
            "learning_rate": 1e-2,
            "evaluations_per_run": 12,
            "early_stopping_evaluations": 2,
        }
    )
    tuned = tune(
        greedy, tiny_model, tokenizer, Samples([(row,) for row in training], [(row,) for row in held_out]), context
    )
    held = {int(point["step"]): point["eval_loss"] for point in tuned.curve if "eval_loss" in point}
    last = max(held)
    assert tuned.steps == last < 40
    assert sum(step > tuned.best_step for step in held) == 2
    assert tuned.folder.name == f"checkpoint-{tuned.best_step}"
    assert tuned.eval_loss == min(held[step] for step in held if step) < held[last]
    # The four samples are still being learned by heart when the others get worse.
    losses = {int(point["step"]): point["loss"] for point in tuned.curve if "loss" in point}
    assert losses[last] < losses[tuned.best_step] < losses[1] - 1
