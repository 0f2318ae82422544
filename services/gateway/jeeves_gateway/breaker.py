"""The circuit breaker in front of an engine: a pure state machine with an injected clock.

closed ──failures in a row──> open ──time──> half-open ──success──> closed
                               ^                 │
                               └────failure──────┘   (each time twice as long, up to a maximum)
"""

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Decides whether the engine is asked.

    Args:
        clock: monotonic seconds.
        failures_to_open: failures in a row that open it, >= 1.
        open_seconds: how long it stays open the first time.
        open_seconds_max: the longest it stays open.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        failures_to_open: int = 3,
        open_seconds: float = 2.0,
        open_seconds_max: float = 30.0,
    ) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._first_open_seconds = open_seconds
        self._open_seconds_max = open_seconds_max
        self._open_seconds = open_seconds
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Now."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._clock() - self._opened_at >= self._open_seconds else "open"

    def allow(self) -> bool:
        """Whether a request may go to the engine; in half-open one at a time may.

        Each `True` is followed by exactly one `success()`, `failure()` or `abandoned()`.
        """
        state = self.state
        if state == "closed":
            return True
        if state == "half-open" and not self._probing:
            self._probing = True
            return True
        return False

    def success(self) -> None:
        """The engine answered."""
        self._failures = 0
        self._opened_at = None
        self._probing = False
        self._open_seconds = self._first_open_seconds

    def failure(self) -> None:
        """The engine failed or was silent."""
        self._failures += 1
        if self._probing:
            self._probing = False
            self._open_seconds = min(self._open_seconds * 2, self._open_seconds_max)
            self._opened_at = self._clock()
        elif self._opened_at is None and self._failures >= self._failures_to_open:
            self._opened_at = self._clock()

    def abandoned(self) -> None:
        """The request ended without telling anything about the engine: its client went away."""
        self._probing = False
