"""The dry run: what a training needs, what speaks against it, and advice that makes it fit."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.recipes import ModelShape, TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.four_bit import load_four_bit
from jeeves_trainer.memory import (
    GIB,
    adapter_parameters,
    advise,
    estimate_memory,
    parameter_counts,
    shape_of_config,
    shape_of_gguf,
    smaller_micro_batches,
)
from jeeves_trainer.plans import Device, find_device, make_plan

RECIPES = sorted((Path(__file__).parents[3] / "training-jobs" / "train").glob("*.yaml"))
LLAMA_2_7B = ModelShape(
    layers=32,
    hidden=4096,
    intermediate=11008,
    heads=32,
    key_value_heads=32,
    head_size=128,
    vocabulary=32000,
    tied=False,
)
# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def load(path: Path) -> TrainRecipe:
    return TrainRecipe.model_validate(yaml.safe_load(path.read_text("utf-8")))


@pytest.fixture
def recipe() -> TrainRecipe:
    return load(next(path for path in RECIPES if path.stem == "smollm2-135m-cpu"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_fits_the_device_that_it_is_written_for(path: Path):
    recipe = load(path)
    if recipe.device is None:
        assert recipe.base_model.location.startswith("wheel:")
        return
    assert recipe.base_model.shape is not None
    need = estimate_memory(recipe.base_model.shape, recipe, cuda=True).total / GIB
    assert 0.2 * recipe.device.memory_gib < need <= recipe.device.memory_gib


def test_parameters_are_those_of_the_real_models(base_gguf, recipe):
    assert sum(parameter_counts(LLAMA_2_7B)) == 6_738_415_616  # as published
    gguf = read_gguf(base_gguf)
    shape = shape_of_gguf(dict(gguf.values), gguf.architecture)
    assert shape is not None
    assert sum(parameter_counts(shape)) == 134_515_008  # as transformers counts SmolLM2-135M


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_weights_and_adapter_are_those_of_the_loaded_model(tiny_model, recipe, targets):
    shape = shape_of_config(tiny_model / "config.json")
    assert shape is not None
    recipe = recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"rank": 4, "target_modules": targets})})
    modules = targets if isinstance(targets, str) else list(targets)
    lora = LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM")
    plain = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16), lora)
    trained, total = plain.get_nb_trainable_parameters()
    assert trained == adapter_parameters(shape, recipe)
    assert total - trained == sum(parameter_counts(shape))
    assert estimate_memory(shape, recipe, cuda=False).weights == 2 * (total - trained)
    four = load_four_bit(str(tiny_model), torch.bfloat16, torch.device("cpu"))
    estimated = estimate_memory(shape, recipe.model_copy(update={"method": "qlora"}), cuda=False).weights
    assert estimated == pytest.approx(four.get_memory_footprint(), rel=0.01)


def test_advice_makes_it_fit_and_keeps_the_effective_batch(recipe):
    wanted = recipe.model_copy(
        update={"micro_batch_samples": 16, "gradient_accumulation": 3, "max_length_tokens": 4096}
    )
    assert estimate_memory(LLAMA_2_7B, wanted, cuda=True).total > 24 * GIB
    advice = advise(LLAMA_2_7B, wanted, cuda=True, device_bytes=24 * GIB)
    assert advice[0].startswith("micro_batch_samples: 1 with gradient_accumulation: 48")
    assert any("gradient_checkpointing" in text for text in advice)
    assert not any("cannot hold it" in text for text in advice)
    assert "cannot hold it" in advise(LLAMA_2_7B, wanted, cuda=True, device_bytes=GIB)[-1]
    assert advise(LLAMA_2_7B, wanted, cuda=True, device_bytes=10**13) == ()


@given(st.integers(2, 64), st.integers(1, 64))
def test_smaller_micro_batches_keep_the_effective_batch(samples: int, accumulation: int):
    recipe = load(RECIPES[0]).model_copy(update={"micro_batch_samples": samples, "gradient_accumulation": accumulation})
    smaller = smaller_micro_batches(recipe)
    assert smaller.micro_batch_samples < samples
    assert smaller.micro_batch_samples * smaller.gradient_accumulation == samples * accumulation


def test_more_of_anything_needs_more_memory(recipe):
    def total(**change: object) -> int:
        return estimate_memory(LLAMA_2_7B, recipe.model_copy(update=change), cuda=True).total

    assert total(micro_batch_samples=8) > total() > total(method="qlora")
    assert total(prompt_gradient=True) > total()
    assert total(prompt_gradient=True, gradient_checkpointing=True) < total(prompt_gradient=True)
    assert total(dtype="float32") > total()
    assert total(stage="cpt") > total()
    assert total(stage="dpo") > total()
    assert total(method="full") > total(dtype="float32")


def test_the_plan_of_the_default_recipe(tmp_path, recipe, make_dataset):
    body = TrainingRequest(recipe=recipe, dataset=make_dataset(ArtifactStore(str(tmp_path)), 40, 4))
    plan = make_plan(body, find_device())
    assert plan.parameters == 134_515_008
    assert plan.steps == 12, "40 samples, 1.25 times, 4 a step"
    assert {finding.name for finding in plan.findings} == {"dataset", "licence", "base_model", "memory"}
    small = make_plan(body, Device("T0", GIB, cuda=True))
    assert not small.ready and small.advice
    assert small.memory is not None and small.memory.total < 6 * GIB


def test_a_plan_names_every_mistake(tmp_path, recipe, make_dataset):
    dataset = make_dataset(ArtifactStore(str(tmp_path)), 4, 2).model_copy(
        update={"prompt_sha256": "f" * 64, "train_samples": 0}
    )
    base = recipe.base_model.model_copy(update={"location": "/no/such/folder"})
    body = TrainingRequest(recipe=recipe.model_copy(update={"base_model": base}), dataset=dataset)
    plan = make_plan(body, Device("CPU", 8 * GIB, cuda=False))
    assert [finding.name for finding in plan.findings if finding.severity == "error"] == [
        *("request", "request", "base_model")
    ]
    assert plan.memory is None and not plan.ready
