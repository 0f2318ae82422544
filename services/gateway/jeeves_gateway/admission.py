"""The bounded queue in front of the engine: as many requests as it has slots, some more waiting, the rest refused.

What cannot be served in time is refused at once: the wait is estimated from how long slots were held lately.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from jeeves_gateway.errors import Overloaded

_NEWEST_SHARE = 0.2
"""Weight of the newest answer in the mean time that a slot is held."""


class Admission:
    """Slots and a waiting room.

    Args:
        slots: requests at the same time, >= 1.
        waiting_max: requests that may wait, >= 0.
        wait_seconds_max: the longest wait.
        clock: monotonic seconds.
    """

    def __init__(
        self, slots: int, waiting_max: int, wait_seconds_max: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._places = slots
        self._waiting_max = waiting_max
        self._wait_seconds_max = wait_seconds_max
        self._clock = clock
        self._held_seconds = 0.0
        self.waiting = 0
        self.running = 0

    @property
    def queue_share(self) -> float:
        """How much of the waiting room is taken, in [0, 1]."""
        return self.waiting / self._waiting_max if self._waiting_max else 0.0

    def check(self) -> None:
        """Refuse what would wait in vain, before anything is done for it.

        Raises:
            Overloaded: the waiting room is full, or the wait would be too long.
        """
        if not self._slots.locked():
            return
        wait = (self.waiting + 1) * self._held_seconds / self._places
        if self.waiting >= self._waiting_max or wait > self._wait_seconds_max:
            raise Overloaded(
                f"{self.running} requests are running and {self.waiting} wait: try again in a moment.",
                math.ceil(min(wait or math.inf, self._wait_seconds_max / 4)),
            )

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the length of the block.

        Raises:
            Overloaded: as `check`, or no slot became free in time.
        """
        self.check()
        self.waiting += 1
        try:
            # A free slot is taken at once, and needs no timer.
            async with asyncio.timeout(self._wait_seconds_max if self._slots.locked() else None):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise Overloaded(
                f"No slot became free within {self._wait_seconds_max:g} s: try again in a moment.",
                math.ceil(self._wait_seconds_max / 2),
            ) from exc
        finally:
            self.waiting -= 1
        self.running += 1
        started = self._clock()
        try:
            yield
        finally:
            self.running -= 1
            self._held_seconds += _NEWEST_SHARE * (self._clock() - started - self._held_seconds)
            self._slots.release()
