"""The base model made ready once: dequantized to BF16, kept as a Hugging Face folder and as a BF16 GGUF for all jobs.

Preparing happens in a temporary folder that is renamed when it is complete, so a killed job leaves nothing half-made.
"""

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jeeves_shared.artifacts import storage_errors
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.recipes import BaseModelSource
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.base_models import LocatedModel
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.errors import BaseModelUnusable
from jeeves_trainer.tokenizers import repair_pre_tokenizer


@dataclass(frozen=True)
class PreparedModel:
    """A base model ready for training.

    Attributes:
        folder: Hugging Face folder: BF16 safetensors, tokenizer, chat template.
        gguf: the same weights as BF16 GGUF.
    """

    folder: Path
    gguf: Path


def prepare(
    source: BaseModelSource, located: LocatedModel, cache: Path, heartbeat: Callable[[], None]
) -> PreparedModel:
    """Dequantize a base model to BF16 and convert it to GGUF, once for all jobs.

    Args:
        source: its name goes into the GGUF.
        located: from `locate`.
        cache: folder for prepared models.
        heartbeat: called now and then; may raise to stop.

    Raises:
        BaseModelUnusable: transformers cannot read it, or it has no chat template.
        ConversionFailed: llama.cpp's converter refused it.
        StorageFull: no space left.
    """
    target = cache / content_hash([source.name, located.sha256])[:32]
    prepared = PreparedModel(target / "hf", target / "base-BF16.gguf")
    if target.is_dir():
        return prepared
    temporary = cache / f".{target.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir(parents=True)
    try:
        with storage_errors("the base model"):
            _save_as_hugging_face(located, temporary / "hf")
            heartbeat()
            convert_to_gguf(temporary / "hf", temporary / "base-BF16.gguf", source.name, heartbeat)
            if not target.is_dir():  # another job may have been quicker
                temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return prepared


def _save_as_hugging_face(located: LocatedModel, target: Path) -> None:
    origin = str(located.folder) if located.folder else located.repository
    options = {"gguf_file": located.gguf_name} if located.gguf_name else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(origin, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(
            origin, dtype=torch.float32 if located.gguf_name else torch.bfloat16, **options
        )
    except (OSError, ValueError) as exc:
        raise BaseModelUnusable(f"transformers cannot read {Path(origin).name}: {exc}") from exc
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise BaseModelUnusable(f"{Path(origin).name} has no chat template or no end token: take an instruct model.")
    if located.folder and located.gguf_name:
        repair_pre_tokenizer(tokenizer, read_gguf(located.folder / located.gguf_name))
        # The loader marks the model as quantized although its weights are plain floats by now.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    model.to(dtype=torch.bfloat16)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
