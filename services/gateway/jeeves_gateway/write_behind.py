"""What is kept of answers, written behind their backs: many answers in one transaction, none waits for the disk.

A process that is killed loses the lineage and the usage of its last `BATCH_SECONDS`; one that is stopped loses none.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from jeeves_gateway.budgets import BudgetStore, Spent
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.record import GatewayRecord, ResponseRow

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.05
"""How long a batch is collected: some 20 transactions a second at most, whatever the load."""
_ROWS_MAX = 20_000
"""A database that hangs must not fill the memory: further lineage is counted as lost."""


class WriteBehind:
    """Collects lineage and usage, and writes them in batches.

    Args:
        record: gets the lineage.
        budgets: get the usage.
        metrics: get what could not be written.
    """

    def __init__(self, record: GatewayRecord, budgets: BudgetStore, metrics: GatewayMetrics) -> None:
        self._record = record
        self._budgets = budgets
        self._metrics = metrics
        self._responses: list[ResponseRow] = []
        self._spent: dict[tuple[str, str], Spent] = {}
        self._being_written: dict[tuple[str, str], Spent] = {}
        self._writing = asyncio.Lock()
        self._soon: asyncio.Task[None] | None = None

    def add_response(self, response_id: str, lineage: Mapping[str, Any]) -> None:
        """Keep the lineage of an answer; one that cannot be kept is counted."""
        if len(self._responses) >= _ROWS_MAX:
            self._metrics.record_failures.inc()
            return
        self._responses.append(ResponseRow(response_id, datetime.now(UTC), lineage))
        self._write_soon()

    def spend(self, key_id: str, day: str, tokens: int) -> None:
        """Count one answer and its tokens on a key's day."""
        spent = self._spent.get((key_id, day), Spent(0, 0))
        self._spent[key_id, day] = Spent(spent.requests + 1, spent.tokens + tokens)
        self._write_soon()

    def unwritten_tokens(self, key_id: str, day: str) -> int:
        """Tokens of a key's day that the database may not know yet."""
        waiting = (self._spent.get((key_id, day)), self._being_written.get((key_id, day)))
        return sum(spent.tokens for spent in waiting if spent is not None)

    async def flush(self) -> None:
        """Write all that waits. Whoever reads what was written calls it first."""
        async with self._writing:
            responses, self._responses = self._responses, []
            self._being_written, self._spent = self._spent, {}
            if responses:
                try:
                    await asyncio.to_thread(self._record.add_responses, responses)
                except SQLAlchemyError as exc:
                    # An answer is worth more than its record; the loss is counted.
                    self._metrics.record_failures.inc(len(responses))
                    logger.warning("lineage was not recorded", extra={"kind": type(exc).__name__})
            if self._being_written:
                try:
                    await asyncio.to_thread(self._budgets.spend, self._being_written)
                except SQLAlchemyError as exc:
                    self._metrics.degradations.labels("budget-store-down").inc()
                    logger.warning("usage was not recorded yet", extra={"kind": type(exc).__name__})
                    for key, spent in self._being_written.items():
                        later = self._spent.get(key, Spent(0, 0))
                        self._spent[key] = Spent(spent.requests + later.requests, spent.tokens + later.tokens)
            self._being_written = {}

    def _write_soon(self) -> None:
        if self._soon is None or self._soon.done():
            self._soon = asyncio.create_task(self._wait_and_flush(), name="write behind")

    async def _wait_and_flush(self) -> None:
        await asyncio.sleep(BATCH_SECONDS)
        # What is added while this one writes is written by the next.
        self._soon = None
        await self.flush()
