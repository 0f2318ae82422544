"""Console logs as they come: text or gzip, with ConsoleNotes, colours and time stamps; given out line by line.

Memory does not grow with the log: one block of bytes and one line are held at a time.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from jeeves_gateway.errors import BodyTooLarge, LogUnreadable

LOG_BYTES_MAX = 50 * 1024 * 1024
"""As sent."""
UNPACKED_BYTES_MAX = 200 * 1024 * 1024
"""A gzip that holds more is refused: logs shrink to a tenth, bombs to a thousandth."""
LINES_MAX = 2_000_000
"""More lines than any build writes; reading them takes some ten seconds of one core."""
LINE_CHARACTERS_MAX = 4000
"""What is looked at of a line, after its ConsoleNotes are gone."""
_RAW_LINE_BYTES_MAX = 256 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_UNPACK_BYTES = 256 * 1024

# hudson.console.ConsoleNote: preamble `ESC[8mha:`, base64 of a signed and serialized annotation, postamble `ESC[0m`.
_CONSOLE_NOTE = re.compile(r"\x1b\[8mha:[A-Za-z0-9+/=\s]*(?:\x1b\[0m|$)")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_TIME_STAMP = re.compile(
    r"^\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]? ?|^\d\d:\d\d:\d\d(?:[.,]\d+)? {1,2}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        number: in the log as it was sent; the first is 1.
        text: for people; blanks at its start are kept.
    """

    number: int
    text: str


class ConsoleLines:
    """Splits a log into lines. Feed it blocks in order, then `finish` it."""

    def __init__(self) -> None:
        self.lines = 0
        self.size_bytes = 0
        self._sent_bytes = 0
        self._head = b""
        self._unpacker: zlib._Decompress | None = None
        self._begun = False
        self._rest = b""
        self._skipping = False

    def feed(self, block: bytes) -> Iterator[Line]:
        """Take the next block.

        Raises:
            BodyTooLarge: the log is longer than is allowed.
            LogUnreadable: a damaged gzip.
        """
        self._sent_bytes += len(block)
        if self._sent_bytes > LOG_BYTES_MAX:
            raise BodyTooLarge(f"A log may have {LOG_BYTES_MAX >> 20} MB: send its last part, or a gzip of it.")
        if not self._begun:
            self._head += block
            if len(self._head) < len(_GZIP_MAGIC):
                return
            self._begun = True
            block, self._head = self._head, b""
            if block.startswith(_GZIP_MAGIC):
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        for plain in self._unpacked(block):
            self.size_bytes += len(plain)
            if self.size_bytes > UNPACKED_BYTES_MAX:
                raise BodyTooLarge(f"Unpacked, a log may have {UNPACKED_BYTES_MAX >> 20} MB: send its last part.")
            yield from self._split(plain)
            if self.lines > LINES_MAX:
                raise BodyTooLarge(f"A log may have {LINES_MAX} lines: send its last part.")

    def finish(self) -> Iterator[Line]:
        """The log is complete: its last line, if it does not end with a line break.

        Raises:
            LogUnreadable: a gzip that ends too early.
        """
        if self._head:
            self.size_bytes = len(self._head)
            yield from self._split(self._head)
        if self._unpacker is not None and not self._unpacker.eof:
            raise LogUnreadable("The gzip ends before its end: send the whole file.")
        if self._rest:
            yield self._line(self._rest)

    def _unpacked(self, block: bytes) -> Iterator[bytes]:
        if self._unpacker is None:
            yield block
            return
        try:
            while block:
                yield self._unpacker.decompress(block, _UNPACK_BYTES)
                block = self._unpacker.unconsumed_tail
                if self._unpacker.eof and (block := self._unpacker.unused_data):
                    # Concatenated members, as `gzip -c a b` and log shippers write them.
                    self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        except zlib.error as exc:
            raise LogUnreadable("The gzip is damaged: send it again, or send the log as plain text.") from exc

    def _split(self, plain: bytes) -> Iterator[Line]:
        parts = plain.split(b"\n")
        parts[0] = self._rest + parts[0]
        for part in parts[:-1]:
            if self._skipping:
                self._skipping = False
                continue
            yield self._line(part)
        self._rest = b"" if self._skipping else parts[-1]
        if len(self._rest) > _RAW_LINE_BYTES_MAX:
            # A line without an end is given out as far as it came; its number is counted once.
            yield self._line(self._rest)
            self._rest, self._skipping = b"", True

    def _line(self, raw: bytes) -> Line:
        self.lines += 1
        return Line(self.lines, plain_text(raw.decode("utf-8", "replace")))


def plain_text(line: str) -> str:
    """One line without ConsoleNotes, colours, control characters and time stamp; of a progress bar its last state."""
    if "\x1b" in line:
        line = _ANSI.sub("", _CONSOLE_NOTE.sub("", line))
    line = line.rstrip("\r\n ")
    if "\r" in line:
        line = line.rpartition("\r")[2]
    if line[:1] == "[" or line[:1].isdigit():
        line = _TIME_STAMP.sub("", line, count=1)
    if not line.isascii() or not line.isprintable():
        line = _INVISIBLE.sub("", line)
    return line[:LINE_CHARACTERS_MAX]
