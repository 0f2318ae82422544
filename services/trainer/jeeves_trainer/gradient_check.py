"""Before a run: are the gradients of what is trained, on the chosen kernels, those of float32?

A fast kernel may lose them silently: bitsandbytes' fused 4-bit product on a CPU has none, and the first layer's adapter
got exactly zero, though only after the first evaluation. So one micro batch is computed both ways, after one pass in
evaluation mode as a run has it; the reference for 4-bit layers are their own weights, dequantized.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from jeeves_trainer.batches import Batch
from jeeves_trainer.errors import GradientsWrong
from jeeves_trainer.four_bit import dequantized
from jeeves_trainer.loss import answer_loss_sum, causal_model, mean_answer_loss

if TYPE_CHECKING:
    from peft import PeftModel

TOLERANCE = 0.1
"""Largest relative error of the whole gradient, |g − g32| / |g32|.

bfloat16 keeps 8 bits; the errors of 30 layers add up to some per cent. A lost layer costs far more.
"""

_PROBE_SCALE = 0.01

WHOLE_PARAMETERS_MAX = 1_000_000_000
"""A float32 twin of a larger model would not fit beside it: then its first `_CHECKED_LAYERS` layers are checked."""

_CHECKED_LAYERS = 2


def check_gradients(model: "PeftModel", batch: Batch, *, bfloat16: bool, prompt_gradient: bool, seed: int) -> float:
    """Compare the gradient on one batch with float32.

    An adapter's second factor starts at zero, which makes the first one's gradient zero: for the time of the check it
    gets small random values.

    Args:
        model: unchanged afterwards, gradients cleared.
        batch: a small one will do.
        bfloat16: as the run will compute.
        prompt_gradient: as the run will compute.
        seed: of the random values, and of dropout.

    Returns:
        Relative error in [0, `TOLERANCE`].

    Raises:
        GradientsWrong: some trained matrix gets no gradient, or the error exceeds `TOLERANCE`.
    """
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters() if "lora_B" in name}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name in before:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * _PROBE_SCALE)
    try:
        with _shortened(model):
            twin: Any = dequantized(model)
            mean_answer_loss(model, [batch], bfloat16=bfloat16)
            chosen = _gradients(model, batch, bfloat16=bfloat16, prompt_gradient=prompt_gradient, seed=seed)
            reference = _gradients(twin, batch, bfloat16=False, prompt_gradient=prompt_gradient, seed=seed)
    finally:
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if name in before:
                    tensor.copy_(before[name])
        model.zero_grad(set_to_none=True)
    return compare_gradients(chosen, reference)


@contextmanager
def _shortened(model: "PeftModel") -> Iterator[None]:
    """For the time of the block, a large model has its first layers only."""
    backbone: Any = getattr(causal_model(model), "base_model", None)
    layers = getattr(backbone, "layers", None)
    if layers is None or model.num_parameters() <= WHOLE_PARAMETERS_MAX:
        yield
        return
    backbone.layers = layers[:_CHECKED_LAYERS]
    try:
        yield
    finally:
        backbone.layers = layers


def compare_gradients(chosen: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> float:
    """Relative error of one gradient against another, by parameter name.

    Raises:
        GradientsWrong: as `check_gradients`.
    """
    lost = [name for name, tensor in reference.items() if bool(tensor.any()) and not bool(chosen[name].any())]
    if lost:
        raise GradientsWrong(f"{len(lost)} trained matrices get no gradient, first {lost[0]}: use dtype float32.")
    difference = sum(float((chosen[name] - tensor).square().sum()) for name, tensor in reference.items())
    error = math.sqrt(difference / sum(float(tensor.square().sum()) for tensor in reference.values()))
    if not error <= TOLERANCE:
        raise GradientsWrong(
            f"The gradient differs from float32 by {error:.1%}, more than {TOLERANCE:.0%}: use dtype float32."
        )
    return error


def _gradients(
    model: "PeftModel", batch: Batch, *, bfloat16: bool, prompt_gradient: bool, seed: int
) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad(set_to_none=True)
    device = causal_model(model).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout leaves out the same inputs both times
        loss = answer_loss_sum(model, batch, bfloat16=bfloat16, prompt_gradient=prompt_gradient)
    loss.backward()  # type: ignore[no-untyped-call]
    return {
        name: tensor.grad.detach().float().clone() if tensor.grad is not None else torch.zeros(tensor.shape)
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    }
