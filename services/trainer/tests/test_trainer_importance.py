"""An importance matrix: measured on what layers are given, and a better fit of few bits where it counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.documents import TrainingSample
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.importance import measure_importance
from jeeves_trainer.importance_file import importance_bytes, read_importance
from jeeves_trainer.libllama import quantize_file
from jeeves_trainer.rendering import RenderedSample, Renderer

WEIGHT = "blk.1.ffn_down.weight"


@pytest.fixture(scope="module")
def rows(tokenizer, samples: list[TrainingSample]) -> list[RenderedSample]:
    renderer = Renderer(tokenizer)
    return [renderer.render(sample) for sample in samples if not sample.passages][:4]


def test_it_is_the_mean_square_of_a_layers_inputs(tiny_model: Path, rows: list[RenderedSample]):
    found = read_importance(importance_bytes(measure_importance(tiny_model, "llama", rows[:1])))
    assert len(found) == 2 * 7
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    given: list[torch.Tensor] = []
    model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    with torch.no_grad():
        model(torch.tensor([[*rows[0].prompt_ids, *rows[0].answer_ids]]))
    expected = given[0][0].float().square().mean(dim=0).numpy()
    np.testing.assert_allclose(found[WEIGHT], expected, rtol=1e-3)


def test_few_bits_fit_better_where_it_counts(tiny_model: Path, rows: list[RenderedSample], tmp_path: Path):
    plain = tmp_path / "plain.gguf"
    convert_to_gguf(tiny_model, plain, "tiny", lambda: None)
    importance = measure_importance(tiny_model, "llama", rows)
    original = _weights(plain)
    errors = []
    for name, given in (("without", None), ("with", importance)):
        target = tmp_path / f"{name}.gguf"
        quantize_file(plain, target, "Q4_0", 1, given)
        errors.append(float((((_weights(target) - original) ** 2) * importance[WEIGHT]).sum()))
    assert errors[1] < 0.97 * errors[0]


def _weights(path: Path) -> np.ndarray:
    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == WEIGHT)
    return dequantize(tensor.data, tensor.tensor_type)
