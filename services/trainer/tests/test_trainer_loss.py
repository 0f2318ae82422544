"""The loss equals the plain definition, and its gradients are checked before a run."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_trainer.batches import collate
from jeeves_trainer.errors import GradientsWrong
from jeeves_trainer.gradient_check import TOLERANCE, check_gradients, compare_gradients
from jeeves_trainer.loss import answer_loss_sum, mean_answer_loss
from jeeves_trainer.rendering import RenderedSample, Renderer

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def rows(tokenizer, samples: list[TrainingSample]) -> list[RenderedSample]:
    renderer = Renderer(tokenizer)
    return [renderer.render(sample) for sample in (samples[1], samples[0], samples[4], samples[-1])]


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))


def plain_loss(model, row: RenderedSample) -> float:
    """Sum of -log p over the answer's tokens, from the whole logits of one unpadded sample."""
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(row.prompt_ids) - 1 : -1]
    return float(cross_entropy(logits, torch.tensor(row.answer_ids), reduction="sum"))


@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_equals_the_plain_definition_whatever_the_padding(model, rows, prompt_gradient: bool):
    with torch.no_grad():
        batch = answer_loss_sum(model, collate(rows, 2), bfloat16=False, prompt_gradient=prompt_gradient)
    assert float(batch) == pytest.approx(sum(plain_loss(model, row) for row in rows), rel=1e-4)


def test_held_out_loss_counts_every_token_alike(model, rows):
    together = mean_answer_loss(model, [collate(rows, 2)], bfloat16=False)
    apart = mean_answer_loss(model, [collate([row], 2) for row in rows], bfloat16=False)
    assert together == pytest.approx(apart, rel=1e-4)
    assert together == pytest.approx(sum(plain_loss(model, r) for r in rows) / sum(len(r.answer_ids) for r in rows))


@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_bfloat16_gradients_pass_and_leave_the_adapter_alone(tiny_model, rows, prompt_gradient: bool):
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    error = check_gradients(model, collate(rows[:2], 2), bfloat16=True, prompt_gradient=prompt_gradient, seed=1)
    assert 0 < error < TOLERANCE
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())
    assert all(tensor.grad is None for tensor in model.parameters())


def test_a_lost_gradient_is_named():
    good = {"layer.0.lora_A": torch.ones(4), "layer.1.lora_A": torch.ones(4)}
    lost = good | {"layer.0.lora_A": torch.zeros(4)}
    with pytest.raises(GradientsWrong, match=r"layer\.0\.lora_A"):
        compare_gradients(lost, good)


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_a_gradient_that_is_off_is_refused(factor: float):
    good = {"layer.0.lora_A": torch.ones(4)}
    with pytest.raises(GradientsWrong, match="float32"):
        compare_gradients({"layer.0.lora_A": torch.ones(4) * factor}, good)


def test_without_prompt_gradient_the_prompt_teaches_nothing(model, rows):
    """Only the answer's own columns have a gradient: with one answer token after the prompt there is still one."""
    batch = collate(rows[:1], 2)
    answer_loss_sum(model, batch, bfloat16=False, prompt_gradient=False).backward()
    assert any(bool(tensor.grad.any()) for tensor in model.parameters() if tensor.grad is not None)
