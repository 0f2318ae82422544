"""What a step costs and how well the device is used: floating-point operations, MFU, memory."""

import resource
import time

import torch

from jeeves_shared.contracts.recipes import ModelShape, TrainRecipe
from jeeves_trainer.memory import adapter_parameters, linear_shapes

_MATRIX = 1024
_PRODUCTS = 4
_RSS_UNIT_BYTES = 1024
"""Linux counts the largest resident set in KiB."""


class StepCost:
    """Floating-point operations of a training step, of its matrix products with weights.

    A product with a weight costs two operations a token forward, two for the gradient of its input, two for that of
    the weight; a frozen weight saves the last two, and a prompt that is only read the last four. Attention's own
    products and recomputation (gradient checkpointing) are left out, as is usual for model FLOPs.

    Args:
        shape: of the model.
        recipe: how it is trained.

    Source: Kaplan et al., Scaling Laws for Neural Language Models, section 2.1; Chowdhery et al., PaLM, appendix B.
    """

    def __init__(self, shape: ModelShape, recipe: TrainRecipe) -> None:
        self._linear = shape.layers * sum(wide * high for wide, high in linear_shapes(shape).values())
        self._head = shape.vocabulary * shape.hidden
        self._adapter = 0 if recipe.method == "full" else adapter_parameters(shape, recipe)
        self._frozen = recipe.method != "full"
        self._prompt_gradient = recipe.prompt_gradient
        self._reference = recipe.stage == "dpo"

    def operations(self, tokens: int, answer_tokens: int) -> float:
        """Operations of a step.

        Args:
            tokens: of the step, without padding.
            answer_tokens: of them with a label.
        """
        backward = 2 if self._frozen else 4
        taped = tokens if self._prompt_gradient else answer_tokens
        layers = 2 * self._linear * tokens + backward * self._linear * taped
        adapter = 2 * self._adapter * tokens + 4 * self._adapter * taped
        head = (2 + backward) * self._head * answer_tokens
        reference = 2 * (self._linear * tokens + self._head * answer_tokens) if self._reference else 0
        return float(layers + adapter + head + reference)


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second that plain matrix products reach on a device: what MFU is measured against.

    Measured, because a CPU has no data sheet that its virtual machine keeps to.

    Args:
        device: to measure; a fraction of a second on a CPU.
        dtype: that the run computes in.
    """
    size = _MATRIX if device.type == "cpu" else 8 * _MATRIX
    one = torch.randn(size, size, dtype=dtype, device=device)
    best = 0.0
    for _ in range(_PRODUCTS):
        _wait(device)
        started = time.perf_counter()
        one @ one
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory that this process has used so far: of its GPU, or resident on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES
