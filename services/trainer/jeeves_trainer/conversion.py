"""From a Hugging Face folder to a BF16 GGUF, by llama.cpp's own converter of the version that serves."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jeeves_shared.artifacts import atomic_path
from jeeves_shared.engine.binary import CONVERTER_SCRIPT, find_converter_folder
from jeeves_shared.process import die_with_parent
from jeeves_trainer.errors import ConversionFailed

ADAPTER_SCRIPT = "convert_lora_to_gguf.py"
_POLL_SECONDS = 0.2
_TAIL_CHARACTERS = 600


def convert_to_gguf(folder: Path, target: Path, name: str, heartbeat: Callable[[], None]) -> None:
    """Convert, in a process of its own.

    Args:
        folder: Hugging Face folder with safetensors, tokenizer and chat template.
        target: file to write; whole or not at all.
        name: for the GGUF's `general.name`.
        heartbeat: called while waiting; may raise to stop.

    Raises:
        ConversionFailed: with the end of what the converter said.
        EngineBinaryMissing: the converter is not installed.
        StorageFull: no space left.
    """
    options = ["--outtype", "bf16", "--model-name", name]
    _run_converter(CONVERTER_SCRIPT, folder, target, options, heartbeat)


def convert_adapter_to_gguf(adapter: Path, base: Path, target: Path, heartbeat: Callable[[], None]) -> None:
    """Convert a peft adapter to a GGUF LoRA, in a process of its own.

    Args:
        adapter: folder with `adapter_config.json` and `adapter_model.safetensors`.
        base: Hugging Face folder of the model that it belongs to.
        target: file to write; whole or not at all.
        heartbeat: called while waiting; may raise to stop.

    Raises:
        ConversionFailed, EngineBinaryMissing, StorageFull: as `convert_to_gguf`.
    """
    options = ["--outtype", "f16", "--base", str(base)]
    _run_converter(ADAPTER_SCRIPT, adapter, target, options, heartbeat)


def _run_converter(script: str, folder: Path, target: Path, options: list[str], heartbeat: Callable[[], None]) -> None:
    with atomic_path(target) as temporary, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [
                sys.executable,
                str(find_converter_folder() / script),
                str(folder),
                *("--outfile", str(temporary)),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - makes one system call
        )
        try:
            while process.poll() is None:
                heartbeat()
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0 or not temporary.is_file():
            output.seek(0)
            tail = output.read().decode("utf-8", errors="replace").strip()[-_TAIL_CHARACTERS:]
            raise ConversionFailed(f"llama.cpp's converter refused to make {target.name}: {tail}")
