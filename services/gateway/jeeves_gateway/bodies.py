"""Request bodies as they come in: bounded in size and in time: a slow sender costs a socket, nothing else."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.requests import ClientDisconnect

from jeeves_gateway.errors import BodyTooLarge, BodyTooSlow

BODY_SECONDS_MAX = 120.0
"""Longest time for a whole body."""


async def body_blocks(
    request: Request, bytes_max: int, silence_seconds: float, seconds: float = BODY_SECONDS_MAX
) -> AsyncIterator[bytes]:
    """The body in the pieces in which it arrives.

    Args:
        request: whose body was not read yet.
        bytes_max: longest body.
        silence_seconds: longest silence between two pieces.
        seconds: longest time for all of it.

    Raises:
        BodyTooLarge: longer; told from `Content-Length` before anything is read, if it is there.
        BodyTooSlow: too slow.
        ClientDisconnect: the client went away.
    """
    announced = request.headers.get("content-length", "")
    refusal = f"The body has more than {bytes_max} bytes: send less."
    if announced.isdigit() and int(announced) > bytes_max:
        raise BodyTooLarge(refusal)
    received = 0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + silence_seconds)):
                message = await request.receive()
        except TimeoutError as exc:
            raise BodyTooSlow("The body came too slowly: send it at once.") from exc
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        block: bytes = message.get("body", b"")
        received += len(block)
        if received > bytes_max:
            raise BodyTooLarge(refusal)
        if block:
            yield block
        if not message.get("more_body", False):
            return
