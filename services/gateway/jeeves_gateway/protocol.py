"""HTTP as uvicorn speaks it, with bounds on what it leaves open: how long and how large the head of a request may be.

uvicorn bounds neither when httptools parses: a head that never ends would take memory, one that drips would hold a
socket for ever. Bodies are bounded by `BodyBounds`.
"""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BoundedHttp(HttpToolsProtocol):
    """A connection that is closed when a head, trailers or chunk extensions do not come to an end.

    Attributes:
        head_bytes_max: of a head, give or take what one read gives.
        head_seconds_max: for a head, from its first byte or from the beginning of the connection.
    """

    head_bytes_max: ClassVar[int] = 64 * 1024
    head_seconds_max: ClassVar[float] = 15.0

    _late: asyncio.TimerHandle | None = None
    _bytes_without_progress = 0
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is due."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what the parser takes without giving anything."""
        self._progress = False
        super().data_received(data)
        self._bytes_without_progress = 0 if self._progress else self._bytes_without_progress + len(data)
        if self._bytes_without_progress > self.head_bytes_max:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A head is due, also on a connection that was used before."""
        super().on_message_begin()
        if self._late is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._progress = True
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body is here."""
        self._progress = True
        super().on_body(body)

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(self.head_seconds_max, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
