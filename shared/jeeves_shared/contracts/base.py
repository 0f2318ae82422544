"""The base of every type that crosses a service boundary."""

import hashlib
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A boundary type: immutable, without unknown fields, and serialized the same way everywhere."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no blanks, UTF-8 kept as it is.

    Args:
        value: anything that JSON can hold; pydantic models are dumped first.

    Raises:
        TypeError: the value holds something that JSON cannot.
        ValueError: it holds NaN or an infinite number.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """sha256, as 64 hexadecimal digits, of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def manifest_id(prefix: str, identity: Any) -> str:
    """Identity of a manifest: a short name that is a function of its inputs and its recipe only.

    Args:
        prefix: kind of the manifest, such as ``"collection"``.
        identity: the inputs and the recipe; never a time stamp or a path of the machine.

    Returns:
        ``<prefix>-<16 hexadecimal digits>``: 64 bits, enough for the manifests that one installation will ever make.
    """
    return f"{prefix}-{content_hash(identity)[:16]}"
