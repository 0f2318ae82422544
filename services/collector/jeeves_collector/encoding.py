"""Bytes to text: Unicode, or an older encoding where the bytes themselves prove it; else a reason."""

import codecs
import re

from jeeves_collector.drops import Dropped, DropReason

_HIGH_BYTES_MAX_SHARE = 0.2
"""Western text has few letters above ASCII; more than this is no Western text, whatever decodes it."""
_HAN_MIN_SHARE = 0.9
"""Wrongly decoded GB18030 falls all over Unicode; real Chinese is Han and its punctuation."""
_HAN = re.compile("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]")
"""Chinese characters of everyday use, and Chinese punctuation (Unicode 16, blocks 4E00, 3000, FF00)."""
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def decode(data: bytes) -> str:
    """Text of a file, with Unix line ends.

    Raises:
        Dropped: binary, or in an encoding that cannot be told.
    """
    return _decode(data).replace("\r\n", "\n").replace("\r", "\n")


def _decode(data: bytes) -> str:
    for bom, name in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(name)
            except UnicodeDecodeError as exc:
                raise Dropped(DropReason.ENCODING, f"marked as {name}, but is not: {exc.reason}") from exc
    if b"\0" in data:
        raise Dropped(DropReason.BINARY, "holds zero bytes")
    for attempt in (_utf8, _gb18030, _windows_1252):
        text = attempt(data)
        if text is not None:
            return text
    raise Dropped(DropReason.ENCODING, "neither UTF-8 nor GB18030 nor Windows-1252")


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _gb18030(data: bytes) -> str | None:
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        return None
    high = sum(ord(char) > 0x7F for char in text)
    return text if len(_HAN.findall(text)) >= _HAN_MIN_SHARE * high else None


def _windows_1252(data: bytes) -> str | None:
    if sum(byte > 0x7F for byte in data) > _HIGH_BYTES_MAX_SHARE * len(data):
        return None
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return None


def language_of(text: str) -> str:
    """BCP 47 tag: `zh` where at least a fifth of the letters are Han, else `en`."""
    han = 0 if text.isascii() else len(_HAN.findall(text))
    letters = sum(map(str.isalpha, text)) if han else 0
    return "zh" if letters and han >= letters / 5 else "en"
