"""Metadata of GGUF files: a real one, small ones made here, and liars."""

import hashlib
import struct
import sys
import time
from pathlib import Path

import pytest

from jeeves_shared.engine.binary import find_converter_folder
from jeeves_shared.engine.errors import EngineBinaryMissing, GgufUnreadable
from jeeves_shared.engine.gguf import read_gguf, template_sha256

UINT32, STRING, ARRAY, BOOL = 4, 8, 9, 7


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def file_of(*entries: bytes, version: int = 3, count: int | None = None) -> bytes:
    head = struct.pack("<IQQ", version, 0, len(entries) if count is None else count)
    return b"GGUF" + head + b"".join(entries)


ARCHITECTURE = entry("general.architecture", STRING, text("llama"))


def test_real_model(small_model: Path) -> None:
    started = time.perf_counter()
    found = read_gguf(small_model)
    assert time.perf_counter() - started < 1.0
    assert (found.architecture, found.quantization, found.context_tokens) == ("llama", "Q4_1", 8192)
    assert (found.embedding_length, found.tensor_count) == (576, 272)
    assert found.name.startswith("Smollm2 135M")
    assert found.chat_template is not None and "<|im_start|>" in found.chat_template
    assert found.jeeves == {}
    assert template_sha256(small_model) == hashlib.sha256(found.chat_template.encode()).hexdigest()


def test_agrees_with_the_reader_of_llama_cpp(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    try:
        monkeypatch.syspath_prepend(str(find_converter_folder() / "gguf-py"))
    except EngineBinaryMissing as exc:
        pytest.skip(str(exc))
    for module in ("numpy", "requests", "yaml", "tqdm"):
        pytest.importorskip(module)
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(small_model).fields
    theirs = {
        key: field.contents()
        for key, field in fields.items()
        if not key.startswith("GGUF.") and field.types[0] != gguf.GGUFValueType.ARRAY
    }
    assert dict(read_gguf(small_model).values) == theirs
    for name in [name for name in sys.modules if name == "gguf" or name.startswith("gguf.")]:
        monkeypatch.delitem(sys.modules, name)


def test_own_keys(tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(
        file_of(
            ARCHITECTURE,
            entry("jeeves.data_set", STRING, text("dataset-0123")),
            entry("jeeves.merged", BOOL, b"\x01"),
            entry("some.list", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + text("b")),
            entry("other.list", ARRAY, struct.pack("<IQ", UINT32, 2) + bytes(8)),
            entry("general.file_type", UINT32, struct.pack("<I", 7)),
        )
    )
    found = read_gguf(path)
    assert found.jeeves == {"jeeves.data_set": "dataset-0123", "jeeves.merged": True}
    assert found.quantization == "Q8_0"
    assert found.chat_template is None and found.template_sha256 is None
    with pytest.raises(GgufUnreadable, match="no chat template"):
        template_sha256(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read"),
        (b"GG", "does not begin"),
        (b"PK\x03\x04 a zip file", "does not begin"),
        (b"GGUF\x03", "ends inside"),
        (file_of(ARCHITECTURE, version=1), "version is 1"),
        (file_of(ARCHITECTURE, version=0x03000000), "version is"),
        (file_of(ARCHITECTURE, count=2), "ends inside"),
        (file_of(ARCHITECTURE, count=2**63), "claims"),
        (file_of(ARCHITECTURE, ARCHITECTURE), "twice"),
        (file_of(), "architecture"),
        (file_of(ARCHITECTURE, entry("x", 99, b"")), "unknown type 99"),
        (file_of(ARCHITECTURE, entry("x", STRING, struct.pack("<Q", 2**62))), "exceeds"),
        (file_of(ARCHITECTURE, entry("x", STRING, text(b"\xff\xfe"))), "UTF-8"),
        (file_of(struct.pack("<Q", 2**40) + b"key"), "exceeds"),
        (file_of(ARCHITECTURE, entry("x", ARRAY, struct.pack("<IQ", STRING, 2**61))), "claims"),
        (file_of(ARCHITECTURE, entry("x", ARRAY, struct.pack("<IQ", UINT32, 2**62))), "ends inside"),
        (file_of(ARCHITECTURE, entry("x", ARRAY, struct.pack("<IQ", ARRAY, 1))), "unknown type 9"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufUnreadable, match=reason):
        read_gguf(path)


def test_no_truncation_of_a_real_header_gets_past(small_model: Path, tmp_path: Path) -> None:
    with small_model.open("rb") as model:
        head = model.read(60_000)
    path = tmp_path / "short.gguf"
    for size in range(0, len(head), 1999):
        path.write_bytes(head[:size])
        with pytest.raises(GgufUnreadable):
            read_gguf(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(GgufUnreadable, match="cannot be read"):
        read_gguf(tmp_path / "none.gguf")
