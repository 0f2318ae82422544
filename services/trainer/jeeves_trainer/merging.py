"""An adapter into its base: computed in float32, saved as BF16; never into quantized weights."""

import tarfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def merge_adapter(base_folder: Path, adapter_folder: Path, target: Path) -> None:
    """Write the merged model as a Hugging Face folder.

    Float32 holds the bfloat16 base exactly, so each weight is rounded once.

    Args:
        base_folder: BF16 weights, tokenizer, chat template.
        adapter_folder: peft adapter as safetensors.
        target: folder to write; existing files are replaced.
    """
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    merged: Any = PeftModel.from_pretrained(base, adapter_folder).merge_and_unload(safe_merge=True)
    merged.to(dtype=torch.bfloat16)
    merged.save_pretrained(target)
    AutoTokenizer.from_pretrained(base_folder).save_pretrained(target)


def pack_adapter(adapter_folder: Path, target: Path) -> None:
    """The adapter as a tar file; equal files give equal bytes.

    Args:
        adapter_folder: holds `ADAPTER_FILES`.
        target: file to write.
    """

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o644
        return entry

    with tarfile.open(target, "w") as archive:
        for name in ADAPTER_FILES:
            archive.add(adapter_folder / name, arcname=name, filter=anonymous)
