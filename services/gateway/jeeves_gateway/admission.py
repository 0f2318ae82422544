"""The bounded queue in front of the engine: as many requests as it has slots, some more waiting, the rest refused."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jeeves_gateway.errors import Overloaded


class Admission:
    """Slots and a waiting room.

    Args:
        slots: requests at the same time, >= 1.
        waiting_max: requests that may wait, >= 0.
        wait_seconds_max: the longest wait.
    """

    def __init__(self, slots: int, waiting_max: int, wait_seconds_max: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self.waiting = 0
        self.running = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the length of the block.

        Raises:
            Overloaded: the waiting room is full, or no slot became free in time.
        """
        if self._slots.locked() and self.waiting >= self._waiting_max:
            raise Overloaded(
                f"{self.running} requests are running and {self.waiting} wait: try again in a moment.",
                math.ceil(self._wait_seconds_max / 4),
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds_max):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise Overloaded(
                f"No slot became free within {self._wait_seconds_max:g} s: try again in a moment.",
                math.ceil(self._wait_seconds_max / 2),
            ) from exc
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()
