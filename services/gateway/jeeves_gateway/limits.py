"""Requests per minute and caller, counted by slowapi's limiter.

Only its counting is used, from the route itself. Its middlewares break streaming (slowapi #249, #260) and skip
unmatched routes; its decorators count by URL and skip empty keys. Counting in a store of another process blocks
(#3): it runs in a thread, with a deadline, and a dead store lets requests pass for a stated time and says so.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from limits import RateLimitItem, RateLimitItemPerMinute, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage
from slowapi import Limiter
from starlette.requests import Request

from jeeves_gateway.errors import RateLimited
from jeeves_gateway.keys import Caller
from jeeves_gateway.metrics import GatewayMetrics

logger = logging.getLogger(__name__)

STORE_SECONDS_MAX = 0.5
"""A store that takes longer counts as dead."""
OPEN_SECONDS = 10.0
"""How long a dead store is not asked again."""


SWEEP_SECONDS = 1.0
"""How long counts that are over may stay in memory; whether a request is admitted does not depend on it."""


class SweptMemoryStorage(MemoryStorage):
    """Counts in memory, swept once a second: the library starts a thread for it up to a hundred times a second."""

    STORAGE_SCHEME = ["swept"]  # noqa: RUF012 - of this type in the library

    def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802 - the library's private name
        if not self.timer.is_alive():
            expire = self._MemoryStorage__expire_events  # type: ignore[attr-defined]
            self.timer = threading.Timer(SWEEP_SECONDS, expire)
            self.timer.daemon = True
            self.timer.start()


class RequestLimits:
    """The limit on chat requests.

    Args:
        limit: such as `60/minute`.
        storage_uri: `memory://`, or `redis://…` so that replicas share the counts.
        metrics: gets refusals and failures of the store.
        clock: monotonic seconds.
    """

    def __init__(
        self, limit: str, storage_uri: str, metrics: GatewayMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._item: RateLimitItem = parse(limit)
        options: dict[str, Any] = {"wrap_exceptions": True}  # vendor errors come out as StorageError
        if storage_uri.startswith(("redis://", "rediss://")):
            # What is not waited for any more must not go on to block its thread.
            options |= {"socket_timeout": STORE_SECONDS_MAX, "socket_connect_timeout": STORE_SECONDS_MAX}
        self._in_memory = storage_uri.startswith("memory:")
        # A fixed window admits twice the limit around its edge.
        self._limiter = Limiter(
            key_func=_unused_key,
            strategy="moving-window",
            storage_uri="swept://" if self._in_memory else storage_uri,
            storage_options=options,
        ).limiter
        self._metrics = metrics
        self._clock = clock
        self._store_dead_until = -math.inf

    async def admit(self, caller: Caller, per_minute: int | None = None) -> None:
        """Count a request.

        Args:
            caller: who sends it.
            per_minute: limit of the key itself; None for that of the settings.

        Raises:
            RateLimited: over the limit; says when to try again.
        """
        item = self._item if per_minute is None else RateLimitItemPerMinute(per_minute)
        if self._in_memory:
            admitted, reset_at = self._count(item, caller.limit_key)
        else:
            if self._clock() < self._store_dead_until:
                return
            try:
                async with asyncio.timeout(STORE_SECONDS_MAX):
                    admitted, reset_at = await asyncio.to_thread(self._count, item, caller.limit_key)
            except (TimeoutError, OSError, StorageError) as exc:
                self._store_dead_until = self._clock() + OPEN_SECONDS
                self._metrics.degradations.labels("limit-store-down").inc()
                logger.warning("rate limit store is down, requests pass", extra={"kind": type(exc).__name__})
                return
        if not admitted:
            self._metrics.refusals.labels("rate-limited").inc()
            wait = math.ceil(reset_at - time.time())
            raise RateLimited(f"More than {item}: try again in {max(1, wait)} s.", wait)

    def _count(self, item: RateLimitItem, key: str) -> tuple[bool, float]:
        admitted = item.amount > 0 and self._limiter.hit(item, "chat", key)
        if admitted:
            return True, 0.0
        return False, self._limiter.get_window_stats(item, "chat", key).reset_time if item.amount else time.time() + 60


def _unused_key(request: Request) -> str:
    """Slowapi wants one; requests are counted by `Caller.limit_key` instead."""
    raise NotImplementedError
