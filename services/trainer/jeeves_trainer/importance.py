"""How much each input of each weight matters, measured on training samples: what low-bit quantizations are fitted with.

llama.cpp's quantizer minimizes the error of a weight's product with its inputs if it knows how large those inputs are:
the mean of their squares. They are measured on the merged model with torch, before it is converted; the vectors are the
same that `llama-imatrix` would find, since the converter reorders outputs of a weight, never its inputs.

Source: llama.cpp, tools/imatrix/README.md; `quantize_row_*` with `quant_weights` in ggml-quants.c.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from jeeves_trainer.importance_file import Importance
from jeeves_trainer.rendering import RenderedSample


def measure_importance(folder: Path, architecture: str, samples: Sequence[RenderedSample]) -> Importance:
    """Run samples through a model and average the squares of what its linear layers are given.

    Args:
        folder: Hugging Face folder of the merged model.
        architecture: as in `general.architecture`.
        samples: at least one; prompts and answers count alike.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.eval()
    names = _gguf_names(model, architecture)
    sums = {name: torch.zeros(layer.in_features) for name, layer in names}
    hooks = [layer.register_forward_pre_hook(_adder(sums[name])) for name, layer in names]
    tokens = 0
    try:
        with torch.no_grad():
            for sample in samples:
                ids = torch.tensor([[*sample.prompt_ids, *sample.answer_ids]])
                model(input_ids=ids, use_cache=False)
                tokens += ids.shape[1]
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (total / tokens).numpy() for name, total in sums.items()}


def _gguf_names(model: Any, architecture: str) -> list[tuple[str, Any]]:
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    mapping = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    head = model.get_output_embeddings()
    found = []
    for name, module in model.named_modules():
        # A tied head is stored as the embeddings, whose rows are looked up, not multiplied.
        if isinstance(module, nn.Linear) and not (module is head and model.config.tie_word_embeddings):
            stored = mapping.get_name(name)
            if stored is not None:
                found.append((f"{stored}.weight", module))
    return found


def _adder(total: torch.Tensor) -> Any:
    def add(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        total.add_(inputs[0].float().square().flatten(0, -2).sum(dim=0))

    return add
