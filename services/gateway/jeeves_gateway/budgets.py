"""Limits of a key beside its request rate: tokens per minute, tokens per day, answers at the same time.

Tokens of a day are kept in SQL, so that a restart does not forget them and replicas share them; the others in memory or
in Redis (`in_use.py`). Tokens are counted when an answer ends; a key that is over its budget gets no further answer. A
store that is down lets requests pass, and says so in a metric.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, String, Table, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from jeeves_gateway.errors import RateLimited
from jeeves_gateway.fresh import FreshValues
from jeeves_gateway.in_use import InUse, UsedUp
from jeeves_gateway.keys import Caller
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_shared.contracts.base import Contract
from jeeves_shared.jobs.store import create_tables

if TYPE_CHECKING:
    from jeeves_gateway.write_behind import WriteBehind

logger = logging.getLogger(__name__)

_metadata = MetaData()
_limits = Table(
    "key_limits",
    _metadata,
    Column("key_id", String(100), primary_key=True),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("tokens_per_day", BigInteger),
    Column("concurrent", Integer),
)
_usage = Table(
    "key_usage",
    _metadata,
    Column("key_id", String(100), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)


class KeyLimits(Contract):
    """What a key may use; None: as the settings say."""

    requests_per_minute: int | None = Field(default=None, ge=0, le=1_000_000)
    tokens_per_minute: int | None = Field(default=None, ge=0, le=1_000_000_000)
    tokens_per_day: int | None = Field(default=None, ge=0, le=10**15)
    concurrent: int | None = Field(default=None, ge=0, le=10_000)


class KeyUsage(Contract):
    """What a key used today, UTC."""

    day: str
    requests: int
    tokens: int


class Spent(NamedTuple):
    """Answers and their tokens."""

    requests: int
    tokens: int


class BudgetStore:
    """Limits and usage in SQL. Every method may block: call it from a thread.

    Args:
        engine: from `jeeves_shared.jobs.store.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, _metadata)

    def limits(self, key_id: str) -> KeyLimits:
        """The limits of a key; all None if it has none of its own."""
        with self._engine.connect() as connection:
            row = connection.execute(select(_limits).where(_limits.c.key_id == key_id)).mappings().one_or_none()
        return KeyLimits(**{name: row[name] for name in KeyLimits.model_fields}) if row else KeyLimits()

    def set_limits(self, key_id: str, limits: KeyLimits) -> None:
        """Give a key limits of its own."""
        with self._engine.begin() as connection:
            connection.execute(delete(_limits).where(_limits.c.key_id == key_id))
            connection.execute(insert(_limits).values(key_id=key_id, **limits.model_dump()))

    def usage(self, key_id: str, day: str) -> KeyUsage:
        """What a key used on a day."""
        query = select(_usage).where(_usage.c.key_id == key_id, _usage.c.day == day)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return KeyUsage(day=day, requests=row["requests"] if row else 0, tokens=row["tokens"] if row else 0)

    def spend(self, spent: Mapping[tuple[str, str], Spent]) -> None:
        """Add to the usage of keys' days, in one transaction."""
        with self._engine.begin() as connection:
            for (key_id, day), (requests, tokens) in spent.items():
                this = (_usage.c.key_id == key_id) & (_usage.c.day == day)
                values = {"requests": _usage.c.requests + requests, "tokens": _usage.c.tokens + tokens}
                if connection.execute(update(_usage).where(this).values(**values)).rowcount == 0:
                    connection.execute(insert(_usage).values(key_id=key_id, day=day, requests=requests, tokens=tokens))

    def forget(self, older_than_days: int) -> int:
        """Delete old usage; how many rows."""
        limit = (datetime.now(UTC) - timedelta(days=older_than_days)).date().isoformat()
        with self._engine.begin() as connection:
            return connection.execute(delete(_usage).where(_usage.c.day < limit)).rowcount


@dataclass(slots=True)
class Hold:
    """A place among the answers of a key that run at the same time. `release` may be called more than once."""

    _free: Callable[[], None]
    _held: bool = field(default=True)

    def release(self) -> None:
        """Give the place back."""
        if self._held:
            self._held = False
            self._free()


class Budgets:
    """Judges callers by their budgets.

    Args:
        store: limits and daily usage.
        behind: writes the usage.
        defaults: for keys without limits of their own; None: unlimited.
        metrics: gets refusals and failures of the store.
        in_use: what keys use at this moment.
        clock: monotonic seconds.
        today: the day in UTC, ISO form.
    """

    def __init__(
        self,
        store: BudgetStore,
        behind: "WriteBehind",
        defaults: KeyLimits,
        metrics: GatewayMetrics,
        in_use: InUse,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], str] = lambda: datetime.now(UTC).date().isoformat(),
    ) -> None:
        self._store = store
        self._behind = behind
        self._defaults = defaults
        self._metrics = metrics
        self._in_use = in_use
        self._today = today
        self._fresh = FreshValues(self._read_limits, clock)

    async def limits(self, caller: Caller) -> KeyLimits:
        """The limits that hold for a caller now."""
        return await self._fresh.get(caller.id)

    async def _read_limits(self, key_id: str) -> KeyLimits:
        try:
            own = await asyncio.to_thread(self._store.limits, key_id)
        except SQLAlchemyError as exc:
            self._store_down(exc)
            return self._defaults
        return self._defaults.model_copy(update=own.model_dump(exclude_none=True))

    async def admit(self, caller: Caller) -> Hold:
        """Take a place for one answer.

        Raises:
            RateLimited: too many at the same time, or a budget is used up; says when to try again.
        """
        limits = await self.limits(caller)
        if limits.tokens_per_day is not None:
            # Asked first: what is written in between is then counted twice for a moment, rather than not at all.
            unwritten = self._behind.unwritten_tokens(caller.id, self._today())
            try:
                usage = await asyncio.to_thread(self._store.usage, caller.id, self._today())
            except SQLAlchemyError as exc:
                self._store_down(exc)
            else:
                if usage.tokens + unwritten >= limits.tokens_per_day:
                    now = datetime.now(UTC)
                    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
                    wait = int((midnight - now).total_seconds()) + 1
                    raise self._refused(
                        "tokens-per-day", f"The {limits.tokens_per_day} tokens of today are used.", wait
                    )
        # Last, because it looks and takes at once: nothing that is waited for comes in between.
        place = await self._in_use.enter(caller.limit_key, limits.concurrent, limits.tokens_per_minute)
        if not isinstance(place, UsedUp):
            return Hold(place)
        if place.what == "concurrent":
            raise self._refused(place.what, f"{limits.concurrent} answers of this key run already.", place.wait_seconds)
        raise self._refused(place.what, f"More than {limits.tokens_per_minute} tokens a minute.", place.wait_seconds)

    async def spend(self, caller: Caller, tokens: int) -> None:
        """Count what an answer used."""
        await self._in_use.spend(caller.limit_key, tokens)
        self._behind.spend(caller.id, self._today(), tokens)

    async def close(self) -> None:
        """Let go of where usage is counted."""
        await self._in_use.close()

    def _refused(self, reason: str, detail: str, wait_seconds: int) -> RateLimited:
        self._metrics.refusals.labels(reason).inc()
        return RateLimited(f"{detail} Try again in {wait_seconds} s.", wait_seconds)

    def _store_down(self, exc: SQLAlchemyError) -> None:
        self._metrics.degradations.labels("budget-store-down").inc()
        logger.warning("budget store is down, requests pass", extra={"kind": type(exc).__name__})
