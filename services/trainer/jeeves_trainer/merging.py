"""An adapter into its base: computed in float32, saved as BF16; never into quantized weights.

An adapter of QLoRA was trained on weights rounded to 4 bits: it is merged onto those very values, dequantized.
"""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from jeeves_trainer.four_bit import round_linears

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MODEL_CONFIG_FILE = "config.json"
MODEL_WEIGHTS_FILE = "model.safetensors"
_ONE_FILE = "1000GB"


def merge_adapter(base_folder: Path, adapter_folder: Path, target: Path, *, four_bit: bool = False) -> None:
    """Write the merged model as a Hugging Face folder.

    Float32 holds the bfloat16 base exactly, so each weight is rounded once.

    Args:
        base_folder: BF16 weights, tokenizer, chat template.
        adapter_folder: peft adapter as safetensors.
        target: folder to write; existing files are replaced.
        four_bit: the adapter was trained on the base in 4 bits.
    """
    base: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    if four_bit:
        round_linears(base, base.get_output_embeddings())
    merged: Any = PeftModel.from_pretrained(base, adapter_folder).merge_and_unload(safe_merge=True)
    merged.to(dtype=torch.bfloat16)
    merged.save_pretrained(target)
    AutoTokenizer.from_pretrained(base_folder).save_pretrained(target)


def save_whole(base_folder: Path, tuned_folder: Path, target: Path) -> None:
    """Write a model that was trained whole as a Hugging Face folder in BF16, in one file of weights.

    Args:
        base_folder: has the tokenizer and the chat template.
        tuned_folder: configuration and weights as safetensors.
        target: folder to write; existing files are replaced.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(tuned_folder, dtype=torch.bfloat16, use_safetensors=True)
    model.save_pretrained(target, max_shard_size=_ONE_FILE)
    AutoTokenizer.from_pretrained(base_folder).save_pretrained(target)


def pack_weights(folder: Path, target: Path) -> None:
    """Configuration and weights of a Hugging Face folder as a tar file; equal files give equal bytes.

    Args:
        folder: from `save_whole`.
        target: file to write.
    """
    with tarfile.open(target, "w") as archive:
        for name in (MODEL_CONFIG_FILE, MODEL_WEIGHTS_FILE):
            entry = tarfile.TarInfo(name)  # no owner and no time
            entry.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as file:
                archive.addfile(entry, file)


def pack_adapter(adapter_folder: Path, base_model: str, target: Path) -> None:
    """The adapter as a tar file; equal files give equal bytes.

    Args:
        adapter_folder: holds `CONFIG_FILE` and `WEIGHTS_FILE`.
        base_model: name to put where peft wrote a path of this machine.
        target: file to write.
    """
    config = json.loads((adapter_folder / CONFIG_FILE).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_model
    contents = {
        CONFIG_FILE: json.dumps(config, indent=2, sort_keys=True).encode(),
        WEIGHTS_FILE: (adapter_folder / WEIGHTS_FILE).read_bytes(),
    }
    with tarfile.open(target, "w") as archive:
        for name, data in contents.items():
            entry = tarfile.TarInfo(name)  # no owner and no time
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
