"""QLoRA's base: linear layers in 4-bit NormalFloat with doubly quantized scales, by bitsandbytes.

Three traps are closed here:

- On a CPU with AVX-512 BF16, bitsandbytes repacks a layer's weights for inference at its first call in evaluation mode,
  for good; the product with repacked weights has no backward pass. After one held-out evaluation the first layer's
  adapter got a gradient of exactly zero (bitsandbytes 0.50). Repacking is switched off.
- trl turns a quantized model's adapter to bfloat16, in which small updates are lost: it is turned back to float32.
- An adapter that was trained on rounded weights is merged onto those rounded weights, see `round_linears`.

Source: Dettmers et al., QLoRA: Efficient Finetuning of Quantized LLMs, section 3.
"""

import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from jeeves_trainer.errors import MethodUnavailable

BLOCK_WEIGHTS = 64
"""Weights that share a scale; bitsandbytes' default, as in the paper."""

QUANTIZATION_TYPE = "nf4"


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes  # noqa: PLC0415 - only where a recipe asks for it
    except ImportError as exc:
        raise MethodUnavailable(
            f"bitsandbytes cannot be loaded here ({exc}): pip install bitsandbytes, or use method lora."
        ) from exc
    return bitsandbytes


def load_four_bit(folder: str, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a base model with its linear layers in 4 bits, the head and the embeddings as they are.

    Args:
        folder: Hugging Face folder with BF16 weights.
        dtype: that products are computed in, and of the layers that stay.
        device: where to put it.

    Raises:
        MethodUnavailable: bitsandbytes is missing.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig  # noqa: PLC0415 - seconds

    _bitsandbytes()
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map={"": device},
        quantization_config=BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type=QUANTIZATION_TYPE,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    )
    for _, layer in four_bit_layers(model):
        layer.support_avx512bf16_for_cpu = False
    return model


def four_bit_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and layer of each 4-bit linear layer; none if bitsandbytes was never needed."""
    for name, module in model.named_modules():
        if type(module).__module__.startswith("bitsandbytes.") and hasattr(module.weight, "quant_state"):
            yield name, module


def is_four_bit(model: nn.Module) -> bool:
    """True if some layer is in 4 bits."""
    return next(four_bit_layers(model), None) is not None


def restore_adapter_precision(model: nn.Module) -> None:
    """Turn what is trained back to float32, which trl has turned to bfloat16."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def dequantized(model: nn.Module) -> nn.Module:
    """A copy of a model in float32, its 4-bit layers as plain ones with the very same weights.

    Args:
        model: unchanged.
    """
    twin = copy.deepcopy(model)
    for name, layer in list(four_bit_layers(twin)):
        weight = _plain_weight(layer)
        plain = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device=weight.device)
        plain.weight = nn.Parameter(weight, requires_grad=False)
        if layer.bias is not None:
            plain.bias = nn.Parameter(layer.bias.data.float(), requires_grad=False)
        parent, _, child = name.rpartition(".")
        setattr(twin.get_submodule(parent), child, plain)
    return nn.Module.float(twin)  # transformers' own refuses a model that was quantized once


def _plain_weight(layer: Any) -> torch.Tensor:
    functional = _bitsandbytes().functional
    return cast(torch.Tensor, functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)).float()


def round_linears(model: nn.Module, head: nn.Module | None) -> int:
    """Round the weights that training had in 4 bits to what they were there, in place.

    An adapter corrects the rounding of the weights that it was trained on; added to the unrounded ones, it corrects
    what is not there (docs/adr/0011: the drift of both, measured).

    Args:
        model: in float32 or bfloat16, its values those of the BF16 folder that training read.
        head: the output layer, which is never quantized; None if there is none.

    Returns:
        How many layers were rounded.
    """
    functional = _bitsandbytes().functional
    rounded = 0
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.Linear) or module is head:
                continue
            quantized, state = functional.quantize_4bit(
                module.weight.to(torch.bfloat16),
                blocksize=BLOCK_WEIGHTS,
                compress_statistics=True,
                quant_type=QUANTIZATION_TYPE,
            )
            module.weight.copy_(functional.dequantize_4bit(quantized, state))
            rounded += 1
    return rounded
