"""QLoRA on a CPU: gradients that stay right after an evaluation, training that learns, a merge that keeps it."""

from contextlib import nullcontext
from pathlib import Path

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_trainer.batches import collate
from jeeves_trainer.errors import GradientsWrong
from jeeves_trainer.four_bit import (
    dequantized,
    four_bit_layers,
    is_four_bit,
    load_four_bit,
    restore_adapter_precision,
    round_linears,
)
from jeeves_trainer.gradient_check import TOLERANCE, check_gradients
from jeeves_trainer.loss import answer_loss_sum, mean_answer_loss
from jeeves_trainer.merging import merge_adapter
from jeeves_trainer.rendering import RenderedSample, Renderer

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:bitsandbytes..gemv_4bit. an autograd kernel was not registered:UserWarning",
)
LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.fixture(scope="module")
def rows(tokenizer, samples: list[TrainingSample]) -> list[RenderedSample]:
    renderer = Renderer(tokenizer)
    return [renderer.render(sample) for sample in (samples[1], samples[0], samples[4], samples[-1])]


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> PeftModel:
    torch.manual_seed(3)
    return get_peft_model(load_four_bit(str(folder), dtype, torch.device("cpu")), LORA)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("prompt_gradient", [True, False])
def test_gradients_are_those_of_the_dequantized_weights(tiny_model, rows, dtype, prompt_gradient: bool):
    model = load(tiny_model, dtype)
    options = {"bfloat16": dtype is torch.bfloat16, "prompt_gradient": prompt_gradient, "seed": 1}
    first = check_gradients(model, collate(rows[:2], 2), **options)
    # The check has evaluated; another one after it finds the same.
    assert check_gradients(model, collate(rows[:2], 2), **options) == pytest.approx(first, abs=1e-6)
    assert first < TOLERANCE / (2 if dtype is torch.bfloat16 else 100)


def test_the_check_finds_repacked_weights(tiny_model, rows):
    model = load(tiny_model)
    for _, layer in four_bit_layers(model):
        layer.support_avx512bf16_for_cpu = True  # as bitsandbytes has it
    # A CPU without AVX-512 BF16 repacks nothing, and the check must not cry wolf there.
    repacks = bitsandbytes.functional.has_avx512bf16()
    with pytest.raises(GradientsWrong, match="gradient") if repacks else nullcontext():
        check_gradients(model, collate(rows[:2], 2), bfloat16=True, prompt_gradient=True, seed=1)


def test_every_linear_layer_but_the_head_is_nested_nf4(tiny_model):
    model = load_four_bit(str(tiny_model), torch.bfloat16, torch.device("cpu"))
    layers = dict(four_bit_layers(model))
    assert len(layers) == 2 * 7 and not any("lm_head" in name for name in layers)
    for layer in layers.values():
        state = layer.weight.quant_state
        assert (state.quant_type, state.blocksize, state.nested) == ("nf4", 64, True)
    twin = dequantized(model)
    assert not is_four_bit(twin) and is_four_bit(model)


def test_rounded_weights_are_those_of_training(tiny_model):
    trained = dequantized(load_four_bit(str(tiny_model), torch.bfloat16, torch.device("cpu"))).state_dict()
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    assert round_linears(plain, plain.get_output_embeddings()) == 14
    changed = 0
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, trained[name]), name
        changed += not torch.equal(tensor, before[name])
    assert changed == 14


def test_a_few_steps_learn_and_the_merge_keeps_what_was_learned(tiny_model, rows, tmp_path):
    model = load(tiny_model)
    restore_adapter_precision(model)
    batch = collate(rows, 2)
    before = mean_answer_loss(model, [batch], bfloat16=True)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    model.train()
    for _ in range(12):
        loss = answer_loss_sum(model, batch, bfloat16=True, prompt_gradient=True) / batch.label_count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = mean_answer_loss(model, [batch], bfloat16=True)
    assert trained < before - 0.5
    model.save_pretrained(tmp_path / "adapter")
    drift = {}
    for four_bit in (True, False):
        merge_adapter(tiny_model, tmp_path / "adapter", tmp_path / f"merged-{four_bit}", four_bit=four_bit)
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / f"merged-{four_bit}", dtype=torch.float32)
        ids = batch.input_ids
        with torch.no_grad():
            ours = dequantized(model)(input_ids=ids, attention_mask=batch.attention_mask).logits.log_softmax(-1)
            theirs = merged(input_ids=ids, attention_mask=batch.attention_mask).logits.log_softmax(-1)
        kept = batch.labels != -100
        drift[four_bit] = float((ours.exp() * (ours - theirs)).sum(-1)[kept].mean())
    assert drift[True] < 0.01
    assert drift[False] > 5 * drift[True]
