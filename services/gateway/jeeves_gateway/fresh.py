"""Values of the database that are asked for with each request, and read some times a second."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

FRESH_SECONDS = 0.2
"""No older value is ever given out: a change takes effect within this time."""
_ENTRIES_MAX = 1024


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    at: float


class FreshValues(Generic[K, V]):
    """Keeps what was read for `FRESH_SECONDS`; reads it again early where it is still wanted, so that few wait for it.

    Args:
        read: reads a value; asked once for all that wait for the same key.
        clock: monotonic seconds.
    """

    def __init__(self, read: Callable[[K], Awaitable[V]], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._entries: dict[K, _Entry[V]] = {}
        self._reading: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K) -> V:
        """The value, at most `FRESH_SECONDS` old.

        Raises:
            Exception: as `read` does, when there is no value that is fresh enough.
        """
        entry = self._entries.get(key)
        age = self._clock() - entry.at if entry is not None else FRESH_SECONDS
        if entry is not None and age < FRESH_SECONDS / 2:
            return entry.value
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read_again(key))
            task.add_done_callback(_looked_at)
        if entry is not None and age < FRESH_SECONDS:
            return entry.value
        # One that goes away must not take the value from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Read all again, also what is being read now."""
        self._entries.clear()
        self._reading.clear()

    async def _read_again(self, key: K) -> V:
        asked_at = self._clock()
        mine = asyncio.current_task()
        try:
            value = await self._read(key)
            if self._reading.get(key) is mine:
                if len(self._entries) >= _ENTRIES_MAX:
                    self._entries.clear()
                self._entries[key] = _Entry(value, asked_at)
            return value
        finally:
            if self._reading.get(key) is mine:
                del self._reading[key]


def _looked_at(task: "asyncio.Task[V]") -> None:
    """An early reading that failed is nobody's error: the next one that must wait reads again."""
    if not task.cancelled():
        task.exception()
