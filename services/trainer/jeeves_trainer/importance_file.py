"""An importance matrix as a file, without torch; see `importance`."""

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

Importance = dict[str, npt.NDArray[np.float32]]
"""Mean square of each input, by the GGUF name of the weight; shape (inputs,)."""


def importance_bytes(importance: Importance) -> bytes:
    """As safetensors."""
    data: bytes = save(importance)
    return data


def read_importance(data: bytes) -> Importance:
    """From safetensors that `importance_bytes` made."""
    found: Importance = load(data)
    return found
