"""A run made to overfit: the best checkpoint counts, and the gate would have refused the last one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.manifests import GateCondition, MetricComparison
from jeeves_shared.contracts.recipes import BaseModelSource, GateSettings, LoraSettings, TrainRecipe
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.measures.bootstrap import Measured, MetricName, compare
from jeeves_trainer.batches import collate
from jeeves_trainer.gate import judge
from jeeves_trainer.loss import answer_loss_sum
from jeeves_trainer.rendering import RenderedSample, Renderer
from jeeves_trainer.stage_samples import Samples
from jeeves_trainer.tuning import tune

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

RECIPE = TrainRecipe(
    name="overfit",
    model_name="jeeves-tiny",
    base_model=BaseModelSource(name="Tiny", location="folder", licence="Apache-2.0"),
    lora=LoraSettings(rank=8, alpha=16),
    learning_rate=2e-2,
    schedule="constant",
    epochs=36,
    micro_batch_samples=4,
    max_length_tokens=512,
    evaluations_per_run=12,
)


def losses(model: PeftModel, rows: list[RenderedSample]) -> Measured:
    """Nats of each held-out answer, and its tokens."""
    with torch.no_grad():
        nats = [float(answer_loss_sum(model, collate([r], 2), bfloat16=False, prompt_gradient=True)) for r in rows]
    return Measured(np.array(nats), np.array([float(len(row.answer_ids)) for row in rows]))


def load(folder: Path, adapter: Path) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return PeftModel.from_pretrained(base, adapter).eval()


def test_the_best_checkpoint_counts_and_the_gate_refuses_the_last(
    tiny_model: Path, samples: list[TrainingSample], tmp_path: Path, make_metric: Callable[..., MetricComparison]
):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    renderer = Renderer(tokenizer)
    rows = [renderer.render(sample) for sample in samples if not sample.passages and sample.answerable]
    held_out = rows[20:44]
    jobs = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))
    job = jobs.submit("trainings", {}, "always").job
    context = JobContext(job.id, tmp_path, ArtifactStore(str(tmp_path / "store")), jobs)
    learned = Samples([(row,) for row in rows[:4]], [(row,) for row in held_out])
    tuned = tune(RECIPE, tiny_model, tokenizer, learned, context)

    held = {int(point["step"]): point["eval_loss"] for point in tuned.curve if "eval_loss" in point}
    last = max(held)
    assert tuned.best_step < last and tuned.eval_loss == held[tuned.best_step] < held[last] - 0.1
    assert tuned.folder.name == f"checkpoint-{tuned.best_step}"

    best, worse = load(tiny_model, tuned.folder), load(tiny_model, tuned.folder.with_name(f"checkpoint-{last}"))
    with best.disable_adapter():
        base_losses = losses(best, held_out)
    best_losses, last_losses = losses(best, held_out), losses(worse, held_out)

    def verdict(candidate: Measured, champion: Measured | None) -> dict[str, GateCondition]:
        metric = MetricName("answer_loss", "nats/token", False)
        found = compare(metric, base_losses, candidate, champion, resamples=500, seed=1)
        others = {name: make_metric(name, 0.4, 0.5) for name in ("answer_loss_closed_book", "token_f1", "key_facts")}
        others["answer_loss_closed_book"] = make_metric("answer_loss_closed_book", 2.0, 1.9)
        conditions = judge({"answer_loss": found, **others}, GateSettings())
        return {condition.name: condition for condition in conditions}

    first = verdict(best_losses, None)
    assert all(condition.passed for condition in first.values()), first
    second = verdict(last_losses, best_losses)
    assert not second["champion_not_missed"].passed, second
    assert "against the champion" in second["champion_not_missed"].reason
