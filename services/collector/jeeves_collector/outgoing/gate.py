"""Rate, connections and daily quota of each host, shared by all jobs of an installation through small files.

hosts/<host>.json       when the next request may begin, and how many this day had
hosts/<host>-<n>.slot   locked while a request is under way
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jeeves_collector.outgoing.errors import QuotaExhausted
from jeeves_collector.sources.protocol import FetchFigures

_SLOT_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class HostLimits:
    """How much of a host a source may use.

    Attributes:
        requests_per_second: above 0.
        requests_per_day: from 00:00 UTC; 0: no bound.
        connections: requests at the same time, of all jobs.
    """

    requests_per_second: float
    requests_per_day: int = 0
    connections: int = 1


class HostGate:
    """Lets requests through, one after the other.

    Args:
        folder: of the small files.
        limits: for the present source.
        wait: sleeps some seconds; raises when the job is cancelled.
        now: the time, in seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        limits: HostLimits,
        wait: Callable[[float], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._wait = wait
        self._now = now
        self.figures = FetchFigures()
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def passage(self, host: str, least_seconds: float = 0.0) -> Iterator[None]:
        """The right to one request, held while the block runs.

        Args:
            host: with its port.
            least_seconds: between two requests, where the site asks for more than the recipe.

        Raises:
            QuotaExhausted: none left for this day.
            JobCancelled: while waiting.
        """
        slot = self._slot(host)
        try:
            self.sleep(self._reserve(host, least_seconds))
            yield
        finally:
            os.close(slot)

    def hold_back(self, host: str, seconds: float) -> None:
        """No request to this host before so many seconds have passed."""
        with self._entry(host) as entry:
            entry["next_at"] = max(float(entry["next_at"]), self._now() + seconds)

    def sleep(self, seconds: float) -> None:
        """Wait, and count the waiting."""
        if seconds > 0:
            self.figures.waited_seconds += seconds
            self._wait(seconds)

    def _reserve(self, host: str, least_seconds: float) -> float:
        today = datetime.fromtimestamp(self._now(), UTC).date().isoformat()
        with self._entry(host) as entry:
            used = int(entry["used"]) if entry["day"] == today else 0
            if self._limits.requests_per_day and used >= self._limits.requests_per_day:
                raise QuotaExhausted(
                    f"The {used} requests to {host} of this day (UTC) are used up. What was read is kept: collect "
                    "again tomorrow, and it goes on from here; or raise `requests_per_day` of the source."
                )
            begin = max(self._now(), float(entry["next_at"]))
            pause = max(1 / self._limits.requests_per_second, least_seconds)
            entry.update(day=today, used=used + 1, next_at=begin + pause)
            return begin - self._now()

    def _slot(self, host: str) -> int:
        while True:
            for number in range(self._limits.connections):
                path = self._folder / f"{_file_name(host)}-{number}.slot"
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return descriptor
                except BlockingIOError:
                    os.close(descriptor)
            self.sleep(_SLOT_POLL_SECONDS)

    @contextmanager
    def _entry(self, host: str) -> Iterator[dict[str, float | int | str]]:
        path = self._folder / f"{_file_name(host)}.json"
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            entry: dict[str, float | int | str] = {"day": "", "used": 0, "next_at": 0.0}
            # Torn by a power cut, it is no JSON: the count of this day begins anew.
            with suppress(ValueError):
                entry |= json.loads(file.read() or "{}")
            yield entry
            file.seek(0)
            file.truncate()
            file.write(json.dumps(entry))


def _file_name(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", host)
