"""The model of a run: the base as the method wants it, with an adapter or trained whole."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_trainer.cpu_attention import use_on_cpu
from jeeves_trainer.four_bit import load_four_bit


def training_device() -> torch.device:
    """Where a run computes: the current GPU, or the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def load_for_training(recipe: TrainRecipe, base_folder: Path) -> Any:
    """Load the model that a recipe trains.

    What is trained is float32: small updates would be lost in 8 bits of mantissa. A frozen base stays in the recipe's
    type, or in 4 bits.

    Args:
        recipe: validated.
        base_folder: Hugging Face folder with BF16 weights.

    Raises:
        MethodUnavailable: bitsandbytes is missing.
    """
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" and recipe.method != "full" else torch.float32
    torch.manual_seed(recipe.seed)
    base: Any
    if recipe.method == "qlora":
        base = load_four_bit(str(base_folder), dtype, training_device())
    else:
        base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=dtype)
        base.to(training_device())
    use_on_cpu(base)
    if recipe.gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    if recipe.method == "full":
        return base
    lora = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=recipe.lora.target_modules
        if isinstance(recipe.lora.target_modules, str)
        else list(recipe.lora.target_modules),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, lora)
