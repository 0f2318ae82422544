"""How much memory a training needs: estimated from the shapes of its tensors, before anything is loaded.

Letters: L layers, h hidden width, i feed-forward width, v vocabulary, B samples and T tokens of a micro batch, r rank.
An estimate, not a promise: kernels and allocators differ. It is meant to be too high rather than too low.
"""

import json
import math
from pathlib import Path
from typing import Any

from jeeves_shared.contracts.plans import MemoryEstimate
from jeeves_shared.contracts.recipes import ModelShape, TrainRecipe

GIB = 1024**3

_FOUR_BIT_BYTES = 0.5 + 1 / 64 * (1 + 4 / 256)
"""Bytes of a weight in NF4: half a byte, an 8-bit scale for 64 weights, a 32-bit scale for 256 scales.

Source: Dettmers et al., QLoRA, section 3, double quantization.
"""

_OVERHEAD_CUDA_BYTES = GIB
_OVERHEAD_CPU_BYTES = int(0.7 * GIB)
"""Of torch, transformers and trl after import and of a CUDA context."""

_FRAGMENTS = 1.1
_ANSWER_SHARE = 0.5
"""Of a sample's tokens have a label, at most: answers are short beside their passages."""

_LOGIT_BYTES = 2 + 4 + 4
"""Of one logit: as computed, as float32, its gradient."""

_TRAINED_BYTES_WEIGHT_AND_GRADIENT = 8
_ADAM_BYTES = 8
_SUFFIXES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def linear_shapes(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Input and output width of each linear layer of one block, by name."""
    queries, keys = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    return {
        "q_proj": (shape.hidden, queries),
        "k_proj": (shape.hidden, keys),
        "v_proj": (shape.hidden, keys),
        "o_proj": (queries, shape.hidden),
        "gate_proj": (shape.hidden, shape.intermediate),
        "up_proj": (shape.hidden, shape.intermediate),
        "down_proj": (shape.intermediate, shape.hidden),
    }


def parameter_counts(shape: ModelShape) -> tuple[int, int]:
    """Parameters in the blocks' linear layers, and all others."""
    linear = shape.layers * sum(wide * high for wide, high in linear_shapes(shape).values())
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
    return linear, embeddings + (2 * shape.layers + 1) * shape.hidden


def adapter_parameters(shape: ModelShape, recipe: TrainRecipe) -> int:
    """Parameters of the low-rank adapter: r · (inputs + outputs) for each layer that it sits on."""
    wanted = recipe.lora.target_modules
    names = _SUFFIXES if wanted == "all-linear" else wanted
    shapes = linear_shapes(shape)
    return shape.layers * sum(recipe.lora.rank * sum(shapes[name]) for name in names if name in shapes)


def trained_parameters(shape: ModelShape, recipe: TrainRecipe) -> int:
    """Parameters that a recipe changes."""
    return sum(parameter_counts(shape)) if recipe.method == "full" else adapter_parameters(shape, recipe)


def _labelled_share(recipe: TrainRecipe) -> float:
    return 1.0 if recipe.stage == "cpt" else _ANSWER_SHARE


def estimate_memory(shape: ModelShape, recipe: TrainRecipe, *, cuda: bool) -> MemoryEstimate:
    """Peak memory of a training.

    Args:
        shape: of the base model.
        recipe: how it is tuned.
        cuda: on a GPU; a CPU's process has less overhead.
    """
    bytes_each = 2 if recipe.dtype == "bfloat16" else 4
    linear, others = parameter_counts(shape)
    linear_bytes = linear * (_FOUR_BIT_BYTES if recipe.method == "qlora" else bytes_each)
    trained = trained_parameters(shape, recipe)
    rows = recipe.micro_batch_samples * (2 if recipe.stage == "dpo" else 1)  # a pair is two answers
    tokens = rows * recipe.max_length_tokens
    share = _labelled_share(recipe)
    frozen = 0.0 if recipe.method == "full" else linear_bytes + others * bytes_each
    taped = tokens if recipe.prompt_gradient else math.ceil(tokens * share)
    parts = {
        "weights": frozen,
        "adapter": trained * _TRAINED_BYTES_WEIGHT_AND_GRADIENT,
        "optimizer": trained * _ADAM_BYTES,
        "activations": taped * _activation_bytes(shape, recipe, bytes_each),
        "logits": math.ceil(tokens * share) * shape.vocabulary * _LOGIT_BYTES,
    }
    overhead = _OVERHEAD_CUDA_BYTES if cuda else _OVERHEAD_CPU_BYTES
    fragments = (_FRAGMENTS - 1) * sum(parts.values())
    return MemoryEstimate(
        **{name: math.ceil(value) for name, value in parts.items()}, overhead=math.ceil(overhead + fragments)
    )


def _activation_bytes(shape: ModelShape, recipe: TrainRecipe, bytes_each: int) -> float:
    """Bytes that one token leaves for the backward pass.

    A block keeps both norms' inputs in float32 (8 h), the inputs of its linear layers and the attention's operands
    (10 h and two of the keys' width), gate, up, their product and its parts (4 i), and what the adapter adds: each
    layer's input in float32 and its low-rank product. Attention matrices are not kept (scaled-dot-product kernels).
    With gradient checkpointing a block keeps its input only, and one block at a time all of it.
    """
    keys = shape.key_value_heads * shape.head_size
    queries = shape.heads * shape.head_size
    wanted = recipe.lora.target_modules
    adapted = 0 if recipe.method == "full" else len(_SUFFIXES if wanted == "all-linear" else wanted)
    block = 8 * shape.hidden
    block += bytes_each * (3 * shape.hidden + 2 * queries + 2 * keys + 4 * shape.intermediate)
    block += 4 * adapted * (shape.hidden + recipe.lora.rank)
    if recipe.gradient_checkpointing:
        return shape.layers * bytes_each * shape.hidden + block
    return shape.layers * block


def advise(shape: ModelShape, recipe: TrainRecipe, *, cuda: bool, device_bytes: int) -> tuple[str, ...]:
    """What to change so that a recipe fits, the least change first; each step on top of those before.

    Args:
        shape: of the base model.
        recipe: that does not fit.
        cuda: on a GPU.
        device_bytes: that the run may use.
    """
    advice: list[str] = []
    now = recipe

    def fits() -> bool:
        return estimate_memory(shape, now, cuda=cuda).total <= device_bytes

    while not fits() and now.micro_batch_samples > 1:
        now = smaller_micro_batches(now)
    if now is not recipe:
        advice.append(
            f"micro_batch_samples: {now.micro_batch_samples} with gradient_accumulation: {now.gradient_accumulation} "
            "(the same effective batch)"
        )
    steps: list[tuple[bool, str, dict[str, Any]]] = [
        (
            now.gradient_checkpointing,
            "gradient_checkpointing: true (slower by about a third)",
            {"gradient_checkpointing": True, "prompt_gradient": True},
        ),
        (now.method == "qlora", "method: qlora (the base in 4 bits)", {"method": "qlora"}),
        (
            now.lora.rank <= 16,
            "lora.rank: 16",
            {"lora": now.lora.model_copy(update={"rank": 16})},
        ),
        (
            now.max_length_tokens <= 512,
            "max_length_tokens: 512 (longer samples are left out)",
            {"max_length_tokens": 512},
        ),
    ]
    for done, text, change in steps:
        if fits():
            break
        if not done:
            now = now.model_copy(update=change)
            advice.append(text)
    if not fits():
        advice.append("a smaller base model, or a larger device: this one cannot hold it")
    return tuple(advice)


def smaller_micro_batches(recipe: TrainRecipe) -> TrainRecipe:
    """Half the micro batch and twice the accumulation, so that a step still sees as many samples.

    Args:
        recipe: with at least two samples a micro batch.
    """
    wanted = recipe.micro_batch_samples * recipe.gradient_accumulation
    half = recipe.micro_batch_samples // 2
    while wanted % half:
        half -= 1
    return recipe.model_copy(update={"micro_batch_samples": half, "gradient_accumulation": wanted // half})


def shape_of_config(path: Path) -> ModelShape | None:
    """The shape in a Hugging Face `config.json`; None if it is of another kind of model.

    Raises:
        OSError, ValueError: no such file, or no JSON.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return ModelShape(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            intermediate=config["intermediate_size"],
            heads=heads,
            key_value_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or hidden // heads,
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError):
        return None


def shape_of_gguf(values: dict[str, Any], architecture: str) -> ModelShape | None:
    """The shape in a GGUF file's metadata; None if a field is missing.

    Args:
        values: scalars by full key.
        architecture: prefix of the keys.
    """

    def number(name: str) -> int:
        return int(values[f"{architecture}.{name}"])

    try:
        heads, hidden = number("attention.head_count"), number("embedding_length")
        return ModelShape(
            layers=number("block_count"),
            hidden=hidden,
            intermediate=number("feed_forward_length"),
            heads=heads,
            key_value_heads=number("attention.head_count_kv"),
            head_size=hidden // heads,
            vocabulary=number("vocab_size"),
            tied=True,
        )
    except (KeyError, TypeError, ValueError):
        return None
