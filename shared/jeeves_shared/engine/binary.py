"""Where the installed engine is: llama-server and the converter, both inside the wheel of `deploy/engine`.

Nothing here imports `llama_cpp`: that would load its native libraries into this process.
"""

import importlib.metadata
import importlib.util
import os
from pathlib import Path

from jeeves_shared.engine.errors import EngineBinaryMissing

BINARY_VARIABLE = "JEEVES_ENGINE_BINARY"
"""Environment variable with the path of another llama-server."""

CONVERTER_SCRIPT = "convert_hf_to_gguf.py"

_REMEDY = (
    "build the engine once with `python deploy/engine/build_wheel.py --out wheels` and install it with "
    "`pip install --find-links wheels 'llama-cpp-python==0.3.36+jeeves.1'`"
)


def find_engine_binary() -> Path:
    """The llama-server to start: `JEEVES_ENGINE_BINARY`, or the one inside the installed wheel.

    Raises:
        EngineBinaryMissing: there is none, or the variable names something that cannot be executed.
    """
    given = os.environ.get(BINARY_VARIABLE)
    if given:
        path = Path(given).expanduser()
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
        raise EngineBinaryMissing(f"{BINARY_VARIABLE} is {given}, which is not an executable file: correct or unset it")
    path = _package_folder() / "lib" / "llama-server"
    if path.is_file() and os.access(path, os.X_OK):
        return path
    raise EngineBinaryMissing(
        f"the installed llama-cpp-python has no llama-server (it is not the wheel of Jeeves): {_REMEDY}, "
        f"or set {BINARY_VARIABLE}"
    )


def find_converter_folder() -> Path:
    """Folder with `convert_hf_to_gguf.py`, `convert_lora_to_gguf.py`, `conversion/` and `gguf-py/`.

    The scripts run as they are (`python <folder>/convert_hf_to_gguf.py …`) and find their own
    `gguf` in `gguf-py`; they need torch and transformers.

    Raises:
        EngineBinaryMissing: the wheel of Jeeves is not installed.
    """
    folder = _package_folder() / "convert"
    if (folder / CONVERTER_SCRIPT).is_file():
        return folder
    raise EngineBinaryMissing(f"the installed llama-cpp-python has no converter: {_REMEDY}")


def engine_version() -> str:
    """Version of the installed engine, such as ``0.3.36+jeeves.1``; part of an answer's lineage.

    Raises:
        EngineBinaryMissing: llama-cpp-python is not installed.
    """
    try:
        return importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError as exc:
        raise EngineBinaryMissing(f"llama-cpp-python is not installed: {_REMEDY}") from exc


def _package_folder() -> Path:
    spec = importlib.util.find_spec("llama_cpp")  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise EngineBinaryMissing(f"llama-cpp-python is not installed: {_REMEDY}, or set {BINARY_VARIABLE}")
    return Path(next(iter(spec.submodule_search_locations)))
