"""Read the metadata of a GGUF file, without reading the file.

Only the header is walked, and of it only scalars and strings are kept: 50,000 vocabulary entries
are stepped over. PyPI's `gguf.GGUFReader` maps every one of them to numpy arrays (2.2 s and 190 MB
for a 135M model against some 20 ms here), which is too much at each start of a gateway.

Foreign files have overflowed readers written in C: here each length is checked against the size of
the file before it is used, and a file that lies is refused.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import hashlib
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from jeeves_shared.engine.errors import GgufUnreadable

Scalar = str | int | float | bool

TEMPLATE_KEY = "tokenizer.chat_template"
JEEVES_PREFIX = "jeeves."

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_ENTRIES = 65_536
_MAX_KEY_BYTES = 65_535  # the specification's bound
_STRING, _ARRAY = 8, 9
_SCALARS: Mapping[int, struct.Struct] = MappingProxyType(
    {
        0: struct.Struct("<B"),
        1: struct.Struct("<b"),
        2: struct.Struct("<H"),
        3: struct.Struct("<h"),
        4: struct.Struct("<I"),
        5: struct.Struct("<i"),
        6: struct.Struct("<f"),
        7: struct.Struct("<?"),
        10: struct.Struct("<Q"),
        11: struct.Struct("<q"),
        12: struct.Struct("<d"),
    }
)
_UINT32, _UINT64 = _SCALARS[4], _SCALARS[10]

# Source: enum llama_ftype in llama.cpp's include/llama.h; 4, 5, 6 and 33 to 35 were removed there.
_QUANTIZATIONS: Mapping[int, str] = MappingProxyType(
    {
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
        12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
        19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
        26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
        36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """What a GGUF file says about itself.

    Attributes:
        architecture: such as ``llama`` or ``bert``.
        name: `general.name`; empty if the file has none.
        quantization: such as ``Q8_0``; ``unknown`` if the file does not say, ``type-<n>`` for a number
            this release does not know.
        context_tokens: length the model was trained for; 0 if the file does not say.
        embedding_length: width of the model's hidden state; 0 if the file does not say.
        chat_template: Jinja text; None if the file has none.
        tensor_count: number of tensors.
        values: every scalar and string by its full key; arrays are left out.
    """

    architecture: str
    name: str
    quantization: str
    context_tokens: int
    embedding_length: int
    chat_template: str | None
    tensor_count: int
    values: Mapping[str, Scalar]

    @property
    def jeeves(self) -> Mapping[str, Scalar]:
        """The keys below `jeeves.`, with the prefix."""
        return {key: value for key, value in self.values.items() if key.startswith(JEEVES_PREFIX)}

    @property
    def template_sha256(self) -> str | None:
        """sha256, 64 hexadecimal digits, of the chat template as UTF-8; None if there is no template."""
        return None if self.chat_template is None else hashlib.sha256(self.chat_template.encode("utf-8")).hexdigest()


def read_gguf(path: Path) -> GgufMetadata:
    """Read the metadata of a GGUF file.

    Raises:
        GgufUnreadable: the file cannot be opened, is no little-endian GGUF of version 2 or 3, or is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            values, tensor_count = _Header(mapped, path).read()
    except (OSError, ValueError) as exc:  # ValueError: an empty file cannot be mapped
        raise GgufUnreadable(f"{path} cannot be read: {exc}") from exc
    architecture = _text(values, "general.architecture")
    if not architecture:
        raise GgufUnreadable(f"{path} does not name its architecture: it is no model, or damaged")
    file_type = values.get("general.file_type")
    quantization = _QUANTIZATIONS.get(file_type, f"type-{file_type}") if isinstance(file_type, int) else "unknown"
    template = values.get(TEMPLATE_KEY)
    return GgufMetadata(
        architecture=architecture,
        name=_text(values, "general.name"),
        quantization=quantization,
        context_tokens=_number(values, f"{architecture}.context_length"),
        embedding_length=_number(values, f"{architecture}.embedding_length"),
        chat_template=template if isinstance(template, str) else None,
        tensor_count=tensor_count,
        values=MappingProxyType(values),
    )


def template_sha256(path: Path) -> str:
    """sha256, 64 hexadecimal digits, of a file's chat template.

    Raises:
        GgufUnreadable: the file is unreadable or has no chat template.
    """
    digest = read_gguf(path).template_sha256
    if digest is None:
        raise GgufUnreadable(f"{path} has no chat template ({TEMPLATE_KEY}): convert it again from an instruct model")
    return digest


class _Header:
    """A cursor over the mapped header that refuses to leave the file."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data = data
        self._path = path
        self._at = 0

    def read(self) -> tuple[dict[str, Scalar], int]:
        """All scalars and strings by key, and the number of tensors."""
        if self._data[:4] != _MAGIC:
            raise self._damaged("it does not begin with the letters GGUF")
        self._at = 4
        version = self._integer(_UINT32)
        if version not in _VERSIONS:
            raise self._damaged(f"its version is {version}, not 2 or 3 (or it is big-endian)")
        tensor_count = self._integer(_UINT64)
        entries = self._integer(_UINT64)
        if entries > _MAX_ENTRIES:
            raise self._damaged(f"it claims {entries} metadata entries")
        values: dict[str, Scalar] = {}
        for _ in range(entries):
            key = self._string(_MAX_KEY_BYTES)
            kind = self._integer(_UINT32)
            if kind == _ARRAY:
                self._skip_array()
                continue
            if key in values:
                raise self._damaged(f"the key {key!r} appears twice")
            values[key] = self._string(len(self._data)) if kind == _STRING else self._scalar(kind)
        return values, tensor_count

    def _damaged(self, what: str) -> GgufUnreadable:
        return GgufUnreadable(f"{self._path} is not a readable GGUF file: {what}")

    def _advance(self, size: int) -> int:
        """Step over some bytes; returns where they begin."""
        start = self._at
        if size > len(self._data) - start:
            raise self._damaged(f"it ends inside its metadata (byte {start}, {size} more wanted)")
        self._at = start + size
        return start

    def _integer(self, layout: struct.Struct) -> int:
        return int(layout.unpack_from(self._data, self._advance(layout.size))[0])

    def _scalar(self, kind: int) -> Scalar:
        layout = _SCALARS.get(kind)
        if layout is None:
            raise self._damaged(f"it has a value of unknown type {kind}")
        value: Scalar = layout.unpack_from(self._data, self._advance(layout.size))[0]
        return value

    def _string(self, limit: int) -> str:
        size = self._integer(_UINT64)
        if size > limit:
            raise self._damaged(f"a text of {size} bytes exceeds the limit of {limit}")
        start = self._advance(size)
        try:
            return self._data[start : start + size].decode("utf-8")
        except UnicodeDecodeError as exc:
            raise self._damaged("a text is not UTF-8") from exc

    def _skip_array(self) -> None:
        kind, count = self._integer(_UINT32), self._integer(_UINT64)
        if kind == _STRING:
            if count > (len(self._data) - self._at) // _UINT64.size:
                raise self._damaged(f"a list claims {count} texts")
            for _ in range(count):
                self._advance(self._integer(_UINT64))
        elif (layout := _SCALARS.get(kind)) is not None:
            self._advance(layout.size * count)
        else:
            raise self._damaged(f"a list holds values of unknown type {kind}")


def _text(values: Mapping[str, Scalar], key: str) -> str:
    value = values.get(key, "")
    return value if isinstance(value, str) else ""


def _number(values: Mapping[str, Scalar], key: str) -> int:
    value = values.get(key, 0)
    return value if isinstance(value, int) else 0
