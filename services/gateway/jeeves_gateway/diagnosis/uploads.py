"""The file of a multipart form, as `curl -F file=@log` and browsers send it, without keeping it anywhere."""

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from jeeves_gateway.errors import LogUnreadable


async def file_blocks(body: AsyncIterator[bytes], content_type: str) -> AsyncIterator[bytes]:
    """The content of the first file of a form.

    Args:
        body: of the request.
        content_type: with the boundary.

    Raises:
        LogUnreadable: not a form, or one without a file.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise LogUnreadable("The form has no boundary: send the log with `curl -F file=@log`, or as text/plain.")
    found = _FirstFile()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": found.header_field,
                "on_header_value": found.header_value,
                "on_headers_finished": found.headers_finished,
                "on_part_data": found.part_data,
                "on_part_end": found.part_end,
                "on_header_end": found.header_end,
            },
        )
        async for block in body:
            parser.write(block)
            if found.content:
                yield bytes(found.content)
                found.content.clear()
        parser.finalize()
    except FormParserError as exc:
        raise LogUnreadable("The form is damaged: send the log with `curl -F file=@log`, or as text/plain.") from exc
    if not found.seen:
        raise LogUnreadable("The form holds no file: name one, as in `curl -F file=@log`.")


class _FirstFile:
    """Callbacks of the parser: collects the data of the first part that has a file name."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.seen = False
        self._inside = False
        self._field = bytearray()
        self._value = bytearray()
        self._is_file = False

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_file = b"filename" in options
        self._field.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        self._inside = self._is_file and not self.seen
        self.seen = self.seen or self._is_file
        self._is_file = False

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.content += data[start:end]

    def part_end(self) -> None:
        self._inside = False
