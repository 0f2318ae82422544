"""HTTP clients that cost little: a load that must not be slower than what it measures. Standard library only."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Reply:
    """An answer.

    Attributes:
        status: of HTTP.
        body: without chunk headers; of a stream all of it.
        seconds: from sending to the last byte.
        events_at: when each piece of a stream came, monotonic seconds.
    """

    status: int
    body: bytes
    seconds: float
    events_at: list[float] = field(default_factory=list)


class Connection:
    """One keep-alive connection that sends one request at a time.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None, headers: str = "") -> Reply:
        """Send a request and read all of its answer.

        Raises:
            OSError, EOFError: the connection broke off.
        """
        data = b"" if body is None else json.dumps(body).encode()
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode() + data
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=2**20)
        reader, writer = self._streams
        started = time.perf_counter()
        writer.write(request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head[9:12])
            lower = head.lower()
            if b"transfer-encoding: chunked" in lower:
                reply = await self._chunked(reader, status)
            else:
                at = lower.find(b"content-length:")
                length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                reply = Reply(status, await reader.readexactly(length), 0.0)
        except BaseException:
            self.close()
            raise
        reply.seconds = time.perf_counter() - started
        if b"connection: close" in lower:
            self.close()
        return reply

    async def _chunked(self, reader: asyncio.StreamReader, status: int) -> Reply:
        reply = Reply(status, b"", 0.0)
        blocks = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            blocks.append((await reader.readexactly(size + 2))[:-2])
            reply.events_at.append(time.perf_counter())
        await reader.readexactly(2)
        reply.body = b"".join(blocks)
        return reply

    def close(self) -> None:
        """Leave, whatever is still under way."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask_once(url: str, method: str, path: str, body: object = None, headers: str = "") -> Reply:
    """One request over a connection of its own."""
    connection = Connection(url)
    try:
        return await connection.ask(method, path, body, headers)
    finally:
        connection.close()


class _Hammer(asyncio.Protocol):
    """Sends the same request again as soon as its answer is there."""

    def __init__(self, request: bytes, counts: dict[int, int], until: float) -> None:
        self._request, self._counts, self._until = request, counts, until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._length = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            if at < 0:
                raise ValueError("only answers with a length are counted")
            self._length = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < self._length:
            return
        status = int(self._buffer[9:12])
        self._counts[status] = self._counts.get(status, 0) + 1
        self._buffer, self._length = b"", -1
        if time.perf_counter() < self._until:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def hammer(
    url: str, path: str, body: object, *, connections: int, seconds: float, headers: str = ""
) -> dict[int, int]:
    """Answers by status that so many connections get in so long, each asking again at once."""
    parts = urlsplit(url)
    data = json.dumps(body).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{parts.port}\r\n{headers}Content-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode() + data
    counts: dict[int, int] = {}
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: _Hammer(request, counts, until), "127.0.0.1", parts.port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return counts
