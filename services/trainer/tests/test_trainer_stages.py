"""Documents, answers, preferences: each stage learns, stops where it is stopped, and goes on as if it had not."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.contracts.recipes import BaseModelSource, LoraSettings, TrainRecipe
from jeeves_shared.errors import JobCancelled
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.batches import IGNORED
from jeeves_trainer.layouts import Layout
from jeeves_trainer.objectives import PreferenceObjective
from jeeves_trainer.rendering import RenderedSample, Renderer, Unit
from jeeves_trainer.stage_samples import Samples
from jeeves_trainer.tuning import tune

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

PAD = 2


@pytest.fixture(scope="module")
def pairs(tokenizer, samples: list[TrainingSample]) -> list[Unit]:
    """Answers against a refusal."""
    renderer = Renderer(tokenizer)
    rows = [sample for sample in samples if not sample.passages and sample.answerable][:20]
    return [
        (renderer.render(row), renderer.render(row.model_copy(update={"pair": row.pair.model_copy(update=refused)})))
        for row in rows
        for refused in [{"answer": REFUSAL}]
    ]


@pytest.fixture(scope="module")
def pieces(tokenizer, samples: list[TrainingSample]) -> list[Unit]:
    renderer = Renderer(tokenizer)
    texts = ["\n\n".join(sample.pair.answer for sample in samples[at : at + 4]) for at in range(0, 64, 4)]
    documents = [renderer.render_document(f"Handbook › Page {n}", text, 128) for n, text in enumerate(texts)]
    return [(piece,) for document in documents for piece in document]


def test_a_document_becomes_pieces_under_its_heading(tokenizer):
    renderer = Renderer(tokenizer)
    body = "\n\n".join([f"Paragraph {n} on agents." for n in range(40)] + ["long " * 300, "<|im_end|> the end"])
    made = renderer.render_document("Handbook › Agents", body, 100)
    assert len(made) > 5 and max(piece.tokens for piece in made) <= 100
    assert {piece.prompt_text for piece in made} == {"Handbook › Agents\n\n"}
    text = "".join(piece.answer_text for piece in made)
    end = tokenizer.eos_token
    assert text.endswith(end) and text.count(end) == 1, "a control token of the text must not end it"
    written, read = text.split(), body.split()
    assert written[: 40 * 4] == read[: 40 * 4] and written.count("long") == 300


def adapted(folder: Path) -> Any:
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))


def plain_log_probability(model: Any, row: RenderedSample) -> float:
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(row.prompt_ids) - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, torch.tensor(row.answer_ids)[:, None]).sum())


@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_the_preference_loss_is_that_of_the_paper(tiny_model, pairs: list[Unit], prompt_gradient: bool):
    model = adapted(tiny_model)
    objective = PreferenceObjective(0.3, bfloat16=False, prompt_gradient=prompt_gradient)
    layout = Layout(pairs, packed=False, pad_id=PAD)
    batch = layout.batch([[0], [1], [2]])
    assert layout.items([[0], [1], [2]]) == 3
    # A new adapter changes nothing: the model is its own reference.
    assert float(objective.loss_sum(model, batch).detach()) == pytest.approx(3 * math.log(2), rel=1e-4)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=0.05)
    expected = 0.0
    for better, worse in pairs[:3]:
        gains = []
        for row in (better, worse):
            ours = plain_log_probability(model, row)
            with model.disable_adapter():
                gains.append(ours - plain_log_probability(model, row))
        expected -= math.log(1 / (1 + math.exp(-0.3 * (gains[0] - gains[1]))))
    loss = objective.loss_sum(model, batch)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)
    figures = objective.held_out(model, [batch])
    assert figures["eval_loss"] == pytest.approx(expected / 3, rel=1e-3)
    loss.backward()
    assert all(bool(p.grad.any()) for n, p in model.named_parameters() if "lora_B" in n and "layers.1.mlp" in n)


def recipe(**change: Any) -> TrainRecipe:
    settings = {
        "name": "tiny",
        "model_name": "jeeves-tiny",
        "base_model": BaseModelSource(name="Tiny", location="folder", licence="Apache-2.0"),
        "lora": LoraSettings(rank=4, alpha=8, dropout=0.1),
        "learning_rate": 1e-2,
        "epochs": 4,
        "max_steps": 6,
        "micro_batch_samples": 2,
        "gradient_accumulation": 2,
        "max_length_tokens": 512,
        "evaluations_per_run": 3,
    }
    return TrainRecipe.model_validate({**settings, **change})


class Interrupted(JobContext):
    """Stops the job in the middle, once, between two checkpoints."""

    stop_at = 5

    def report(self, fraction: float, message: str = "", **metrics: float) -> None:
        super().report(fraction, message, **metrics)
        if metrics.get("step") == self.stop_at:
            self.cancel()
            self.check_cancelled()


ContextMaker = Callable[[str, type[JobContext]], JobContext]


@pytest.fixture
def make_context(tmp_path: Path) -> ContextMaker:
    def make(name: str, kind: type[JobContext] = JobContext) -> JobContext:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        jobs = JobStore(open_database(f"sqlite:///{folder / 'jobs.sqlite'}"))
        job = jobs.submit("trainings", {}, "always").job
        return kind(job.id, folder, ArtifactStore(str(folder / "store")), jobs)

    return make


STAGES = {
    "cpt": {"stage": "cpt", "max_length_tokens": 128},
    "sft-packed": {"packing": True, "max_length_tokens": 192},
    "sft-full": {"method": "full", "learning_rate": 1e-3},
    "dpo": {"stage": "dpo"},
}


@pytest.mark.parametrize("name", STAGES)
def test_stopped_and_resumed_is_a_straight_run(
    name: str, tiny_model: Path, pairs: list[Unit], pieces: list[Unit], make_context: ContextMaker
):
    wanted = recipe(**STAGES[name])
    units = pieces if name == "cpt" else pairs if name == "dpo" else [(better,) for better, _ in pairs]
    samples = Samples(units[4:], units[:4])
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    straight = tune(wanted, tiny_model, tokenizer, samples, make_context("straight", JobContext))
    assert straight.eval_loss < straight.eval_loss_before - 0.05
    if name == "dpo":
        assert straight.eval_loss_before == pytest.approx(math.log(2), rel=1e-3)
    assert straight.steps == len(straight.curve) - 1 == 6
    figures = straight.curve[1]
    assert figures["tokens_per_second"] > 0 and figures["memory_bytes"] > 2**27 and 0 < figures["mfu"] < 1

    with pytest.raises(JobCancelled):
        tune(wanted, tiny_model, tokenizer, samples, make_context("stopped", Interrupted))
    resumed = tune(wanted, tiny_model, tokenizer, samples, make_context("stopped", JobContext))
    assert resumed.best_step == straight.best_step
    assert [point["step"] for point in resumed.curve] == [point["step"] for point in straight.curve]
    for one, other in zip(straight.curve, resumed.curve, strict=True):
        assert other.keys() == one.keys()
        for figure in one.keys() - {"tokens_per_second", "memory_bytes", "mfu"}:
            assert other[figure] == pytest.approx(one[figure], rel=1e-5), (figure, one["step"])
    kept = sorted(int(path.name.partition("-")[2]) for path in resumed.folder.parent.glob("checkpoint-*"))
    assert kept == sorted({straight.best_step, straight.steps})


def test_labels_of_a_pair_are_on_both_answers(pairs: list[Unit]):
    layout = Layout(pairs, packed=False, pad_id=PAD)
    batch = layout.batch([[0], [1]])
    labelled = [row[row != IGNORED].tolist() for row in batch.labels]
    assert labelled == [list(sample.answer_ids) for sample in (pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1])]
