"""Request bodies: bounded in size and in time on every route, whoever sends them, and dropped once they are refused."""

import asyncio
from collections.abc import AsyncIterator, Mapping

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jeeves_gateway.errors import BodyTooLarge, BodyTooSlow
from jeeves_shared.service import problem_response

BODY_BYTES_MAX = 1024 * 1024
BODY_SECONDS_MAX = 120.0
"""Longest time for a whole body."""
_REST_BYTES_MAX = 64 * 1024
"""A rest that is longer than this is not worth a connection that could be used again."""

_LINGER_SECONDS = 0.5
"""For a client that still sends to see that it was refused; nothing is read meanwhile."""


class BodyBounds:
    """Pure ASGI, outside of everything that reads bodies.

    A body that is too long or too slow raises where it is read, so that the route gives the error its form; where a
    framework turned the error into another one, the refusal is sent in its place. A response that begins before the end
    of a long body closes the connection: else the server would go on to read what nobody wants.

    Args:
        app: gets the requests.
        longer: longest body in bytes by path, where it is not `BODY_BYTES_MAX`.
        silence_seconds: longest silence between two pieces.
        seconds: longest time for all of a body.
    """

    def __init__(
        self, app: ASGIApp, longer: Mapping[str, int], silence_seconds: float, seconds: float = BODY_SECONDS_MAX
    ) -> None:
        self._app = app
        self._longer = longer
        self._silence_seconds = silence_seconds
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bytes_max = self._longer.get(scope["path"], BODY_BYTES_MAX)
        body = _Body(scope, receive, bytes_max, self._silence_seconds, self._seconds)
        answered = False

        async def send_last(message: Message) -> None:
            await self._send_rest(message, body, send)

        async def send_checked(message: Message) -> None:
            nonlocal answered
            refusal = body.refusal
            if message["type"] != "http.response.start":
                if not answered:
                    await self._send_rest(message, body, send)
                return
            if body.unwanted_rest:
                message.setdefault("headers", []).append((b"connection", b"close"))
            if refusal is None or message["status"] == refusal.status:
                await send(message)
                return
            answered = True
            response = problem_response(refusal.problem(), {"Connection": "close"})
            await response(scope, receive, send_last)

        await self._app(scope, body.receive, send_checked)

    @staticmethod
    async def _send_rest(message: Message, body: "_Body", send: Send) -> None:
        """A piece of the response; after the last the server closes, which takes back what the client has not read."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and body.unwanted_rest:
            await send({**message, "more_body": True})
            await asyncio.sleep(_LINGER_SECONDS)
            message = {"type": "http.response.body"}
        await send(message)


class _Body:
    """One body, as the application receives it."""

    def __init__(self, scope: Scope, receive: Receive, bytes_max: int, silence_seconds: float, seconds: float) -> None:
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"")
        self._announced = int(announced) if announced.isdigit() else 0
        self._endless = b"transfer-encoding" in headers
        self._receive = receive
        self._bytes_max = bytes_max
        self._silence_seconds = silence_seconds
        self._seconds = seconds
        self._deadline = 0.0
        self._received = 0
        self._ended = not (self._announced or self._endless)
        self.refusal: BodyTooLarge | BodyTooSlow | None = None

    @property
    def unwanted_rest(self) -> bool:
        """Whether much may still come of it."""
        return not self._ended and (self._endless or self._announced - self._received > _REST_BYTES_MAX)

    async def receive(self) -> Message:
        """The next piece, or the end of the connection.

        Raises:
            BodyTooLarge: more than allowed; told from `Content-Length` before anything is read, if it is there.
            BodyTooSlow: silent for too long, or not whole in time.
        """
        if self._ended:
            return await self._receive()
        if self._announced > self._bytes_max:
            raise self._refused()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._seconds
        try:
            async with asyncio.timeout_at(min(self._deadline, now + self._silence_seconds)):
                message = await self._receive()
        except TimeoutError as exc:
            self.refusal = BodyTooSlow("The body came too slowly: send it at once.")
            raise self.refusal from exc
        self._received += len(message.get("body", b""))
        if self._received > self._bytes_max:
            raise self._refused()
        self._ended = not message.get("more_body", False)
        return message

    def _refused(self) -> BodyTooLarge:
        self.refusal = too_large(self._bytes_max)
        return self.refusal


def too_large(bytes_max: int) -> BodyTooLarge:
    """The refusal of a body."""
    return BodyTooLarge(f"The body has more than {bytes_max} bytes: send less.")


async def body_blocks(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """The body in the pieces in which it arrives, where less is allowed than `BodyBounds` lets through.

    Args:
        request: whose body was not read yet.
        bytes_max: longest body.

    Raises:
        BodyTooLarge: longer; told from `Content-Length` before anything is read, if it is there.
        BodyTooSlow: by `BodyBounds`.
        ClientDisconnect: the client went away.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > bytes_max:
        raise too_large(bytes_max)
    received = 0
    async for block in request.stream():
        received += len(block)
        if received > bytes_max:
            raise too_large(bytes_max)
        if block:
            yield block
