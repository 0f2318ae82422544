"""Names and metadata of GGUF files.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, "GGUF Naming Convention".
"""

import contextlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import gguf
from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

from jeeves_shared.artifacts import atomic_path
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.errors import ArchitectureMismatch, TemplateMismatch

FINE_TUNE = "jeeves"
_UNFIT = re.compile(r"[^A-Za-z0-9.]+")


def gguf_file_name(base_model: str, version: int, encoding: str, *, tuned: bool) -> str:
    """File name of a quantized model, such as ``SmolLM2-135M-Instruct-jeeves-v1-Q8_0.gguf``.

    Args:
        base_model: name, size and fine-tune of the base, such as `SmolLM2-135M-Instruct`.
        version: of the model, at least 0.
        encoding: quantization type.
        tuned: False for the untouched base.
    """
    base = _UNFIT.sub("-", base_model).strip("-")
    return "-".join([base, *([FINE_TUNE] if tuned else []), f"v{version}", f"{encoding}.gguf"])


def write_metadata(source: Path, target: Path, values: Mapping[str, str]) -> None:
    """Copy a GGUF file with other metadata, without touching its tensors.

    Args:
        source: the file.
        target: file to write; whole or not at all.
        values: text by key, such as `general.name` or `jeeves.dataset_id`; each replaces or is added.

    Raises:
        StorageFull: no space left.
        GgufUnreadable: no readable GGUF file.
    """
    architecture = read_gguf(source).architecture  # first: its errors are typed
    reader = gguf.GGUFReader(source, "r")
    details = {key: MetadataDetails(gguf.GGUFValueType.STRING, value) for key, value in values.items()}
    with atomic_path(target) as temporary:
        writer = gguf.GGUFWriter(temporary, arch=architecture, endianess=reader.endianess)
        with contextlib.redirect_stderr(io.StringIO()):  # it draws a progress bar
            copy_with_new_metadata(reader, writer, details, [])


def check_template(path: Path, expected_sha256: str) -> None:
    """Check that a file holds the chat template that was trained with.

    Args:
        path: a GGUF file.
        expected_sha256: of the template's text.

    Raises:
        TemplateMismatch: another template, or none.
        GgufUnreadable: no readable GGUF file.
    """
    found = read_gguf(path).template_sha256
    if found != expected_sha256:
        raise TemplateMismatch(
            f"The chat template in {path.name} is {(found or 'missing')[:12]}, trained was {expected_sha256[:12]}: "
            "answers would be wrong. Convert the model again from its training."
        )


def check_architecture(path: Path, expected: str) -> None:
    """Check that a file is of the architecture that was trained.

    Args:
        path: a GGUF file.
        expected: as in `general.architecture`.

    Raises:
        ArchitectureMismatch: it is of another one.
        GgufUnreadable: no readable GGUF file.
    """
    found = read_gguf(path).architecture
    if found != expected:
        raise ArchitectureMismatch(
            f"{path.name} is a model of the architecture {found or 'none'}, trained was {expected}: it is another "
            "model. Convert it again from its training."
        )
