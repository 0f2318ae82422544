"""What keys use at this moment: answers that run, and tokens of the last minute; in this process, or in Redis for all.

In Redis one script looks and takes, so that gateways side by side hold a limit as exactly as one does. A place there is
a lease that its process renews: one that was killed gives its places back within `LEASE_SECONDS`. While Redis is down
the counts of this process hold.
"""

import asyncio
import logging
import math
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from jeeves_gateway.limits import OPEN_SECONDS, STORE_SECONDS_MAX
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_shared.errors import SettingsError

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
_MINUTE_TENTHS = 600
_REDIS_SCHEMES = ("redis://", "rediss://")

_ENTER = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local running, answers, tokens = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
if answers >= 0 and redis.call('ZCARD', running) >= answers then return {1, 1000} end
if tokens >= 0 then
  local oldest, used, slots = now, 0, redis.call('HGETALL', KEYS[2])
  for i = 1, #slots, 2 do
    local slot = tonumber(slots[i]) * 100
    if slot <= now - 60000 then
      redis.call('HDEL', KEYS[2], slots[i])
    else
      used = used + tonumber(slots[i + 1])
      oldest = math.min(oldest, slot)
    end
  end
  if used >= tokens then return {2, oldest + 60000 - now} end
end
redis.call('ZADD', running, now + ARGV[4], ARGV[1])
redis.call('PEXPIRE', running, ARGV[4])
return {0, 0}
"""
"""Keys: leases by the time of their end, tokens by tenth of a second. Arguments: lease, most answers and tokens, ms.

Returns what is used up (0 nothing, 1 answers, 2 tokens) and when there is some again, in ms.
"""
_SPEND = """
local t = redis.call('TIME')
redis.call('HINCRBY', KEYS[1], t[1] * 10 + math.floor(t[2] / 100000), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 61000)
"""
_RENEW = """
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class UsedUp(NamedTuple):
    """Why a key gets no place now.

    Attributes:
        what: of its limits.
        wait_seconds: until there is something again, >= 1.
    """

    what: Literal["concurrent", "tokens-per-minute"]
    wait_seconds: int


class InUse(Protocol):
    """What keys use."""

    async def enter(self, key: str, answers: int | None, tokens: int | None) -> Callable[[], None] | UsedUp:
        """Take a place for an answer.

        Args:
            key: who asks.
            answers: that may run at the same time; None for any number.
            tokens: that may be used in a minute before the next answer is refused; None for any number.

        Returns:
            What gives the place back, to be called once; or why there is none.
        """

    async def spend(self, key: str, tokens: int) -> None:
        """Count what an answer used."""

    async def close(self) -> None:
        """Let go of the store."""


class OwnUse:
    """Counts in this process.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: defaultdict[str, int] = defaultdict(int)
        self._minute: defaultdict[str, deque[tuple[int, int]]] = defaultdict(deque)

    async def enter(self, key: str, answers: int | None, tokens: int | None) -> Callable[[], None] | UsedUp:
        """As `InUse`."""
        if answers is not None and self._running.get(key, 0) >= answers:
            return UsedUp("concurrent", 1)
        if tokens is not None:
            spent = self._of_last_minute(key)
            if sum(used for _, used in spent) >= tokens:
                wait = spent[0][0] + _MINUTE_TENTHS - self._tenth() if spent else 10
                return UsedUp("tokens-per-minute", math.ceil(wait / 10))
        self._running[key] += 1
        return lambda: self._leave(key)

    async def spend(self, key: str, tokens: int) -> None:
        """As `InUse`."""
        spent, now = self._of_last_minute(key), self._tenth()
        if spent and spent[-1][0] == now:
            tokens += spent.pop()[1]
        spent.append((now, tokens))

    async def close(self) -> None:
        """Nothing to let go of."""

    def _leave(self, key: str) -> None:
        self._running[key] -= 1
        if self._running[key] <= 0:
            del self._running[key]

    def _of_last_minute(self, key: str) -> deque[tuple[int, int]]:
        spent, now = self._minute[key], self._tenth()
        while spent and now - spent[0][0] >= _MINUTE_TENTHS:
            spent.popleft()
        return spent

    def _tenth(self) -> int:
        return int(self._clock() * 10)


class SharedUse:
    """Counts in Redis, and in this process for the time when Redis is down.

    Args:
        redis: its client.
        metrics: gets failures of the store.
        lease_seconds: how long a place outlives the process that took it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        redis: "Redis",
        metrics: GatewayMetrics,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._lease_seconds = lease_seconds
        self._lease_milliseconds = int(lease_seconds * 1000)
        self._clock = clock
        self._own = OwnUse(clock)
        self._enter, self._spend, self._renew = map(redis.register_script, (_ENTER, _SPEND, _RENEW))
        self._leases: dict[str, str] = {}
        self._down_until = -math.inf
        self._renewing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[Any]] = set()

    async def enter(self, key: str, answers: int | None, tokens: int | None) -> Callable[[], None] | UsedUp:
        """As `InUse`."""
        lease = secrets.token_hex(8)
        most = [-1 if limit is None else limit for limit in (answers, tokens)]
        reply = await self._ask(
            lambda: self._enter(keys=[_running(key), _spent(key)], args=[lease, *most, self._lease_milliseconds])
        )
        if reply is None:
            return await self._own.enter(key, answers, tokens)
        if reply[0]:
            return UsedUp("concurrent" if reply[0] == 1 else "tokens-per-minute", math.ceil(reply[1] / 1000) or 1)
        leave_own = await self._own.enter(key, None, None)
        self._leases[lease] = key
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew_leases(), name="leases in Redis")

        def leave() -> None:
            if callable(leave_own):
                leave_own()
            del self._leases[lease]
            # Who leaves does not wait; a lease that cannot be given back ends by itself.
            task = asyncio.create_task(self._ask(lambda: self._redis.zrem(_running(key), lease)))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

        return leave

    async def spend(self, key: str, tokens: int) -> None:
        """As `InUse`."""
        await self._own.spend(key, tokens)
        await self._ask(lambda: self._spend(keys=[_spent(key)], args=[tokens]))

    async def close(self) -> None:
        """Give back what is held, and close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
        await asyncio.gather(*self._leaving)
        await self._redis.aclose()

    async def _renew_leases(self) -> None:
        while self._leases:
            await asyncio.sleep(self._lease_seconds / 3)
            for lease, key in list(self._leases.items()):
                await self._ask(
                    lambda lease=lease, key=key: self._renew(  # type: ignore[misc]
                        keys=[_running(key)], args=[lease, self._lease_milliseconds]
                    )
                )

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """The reply of Redis; None while it is down."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - of the extra `redis`

        if self._clock() < self._down_until:
            return None
        try:
            async with asyncio.timeout(STORE_SECONDS_MAX):
                return await question()
        except (TimeoutError, OSError, RedisError, RuntimeError) as exc:
            # RuntimeError: what uvloop says of a write to a connection that Redis closed before its first word.
            self._down_until = self._clock() + OPEN_SECONDS
            self._metrics.degradations.labels("limit-store-down").inc()
            logger.warning("limit store is down, this process counts alone", extra={"kind": type(exc).__name__})
            return None


def make_use(storage_uri: str, metrics: GatewayMetrics) -> InUse:
    """Counts in Redis, if that is where request limits are counted; else in this process.

    Raises:
        SettingsError: the extra `redis` is missing.
    """
    if not storage_uri.startswith(_REDIS_SCHEMES):
        return OwnUse()
    try:
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import ConnectionError as RedisGone  # noqa: PLC0415
    except ImportError as exc:
        raise SettingsError(
            "JEEVES_GATEWAY_RATE_LIMIT_STORAGE: install the extra: pip install jeeves-gateway[redis]."
        ) from exc
    # A connection that Redis closed meanwhile is opened again once; nothing is waited for twice.
    retry = Retry(NoBackoff(), 1, (RedisGone,))
    return SharedUse(Redis.from_url(storage_uri, retry=retry, socket_timeout=STORE_SECONDS_MAX), metrics)


def _running(key: str) -> str:
    return f"jeeves:{{{key}}}:running"


def _spent(key: str) -> str:
    return f"jeeves:{{{key}}}:tokens"
