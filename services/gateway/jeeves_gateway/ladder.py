"""How far down the ladder all answers must begin now: a pure state machine with an injected clock.

full ──queue half full, or memory scarce──> reduced ──memory nearly gone──> extractive
  ^                                            │ ^                              │
  └──────── better for some seconds ───────────┘ └── better for some seconds ───┘   (one rung at a time)

Down at once, up one rung at a time and only after it has been better for a while, so that it does not swing. What
befalls one request alone (the engine fails, its queue is full) is decided there; this is about all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Step = Literal["full", "reduced", "extractive"]
STEPS: tuple[Step, ...] = ("full", "reduced", "extractive")

QUEUE_SHARE_MAX = 0.5
"""A queue this full is worked off with shorter answers, before anybody has to be refused."""
MEMORY_SCARCE_SHARE = 0.05
MEMORY_GONE_SHARE = 0.02
STEADY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Pressure:
    """What was observed.

    Attributes:
        queue_share: of the waiting room that is taken, in [0, 1].
        memory_share: of the machine's memory that is free to be used, in [0, 1].
    """

    queue_share: float = 0.0
    memory_share: float = 1.0


class Ladder:
    """The rung at which answers begin.

    Args:
        clock: monotonic seconds.
        steady_seconds: how long it must have been better before it goes up one rung.
    """

    def __init__(self, clock: Callable[[], float], steady_seconds: float = STEADY_SECONDS) -> None:
        self._clock = clock
        self._steady_seconds = steady_seconds
        self._level = 0
        self._better_since: float | None = None
        self.reason = ""

    @property
    def step(self) -> Step:
        """Now."""
        return STEPS[self._level]

    def observe(self, pressure: Pressure) -> Step:
        """Take in an observation; the rung from now on."""
        wanted, reason = _wanted(pressure)
        if wanted >= self._level:
            if wanted > self._level:
                self._level, self.reason = wanted, reason
            self._better_since = None
            return self.step
        now = self._clock()
        if self._better_since is None:
            self._better_since = now
        elif now - self._better_since >= self._steady_seconds:
            self._level -= 1
            self._better_since = now
            if self._level == 0:
                self.reason = ""
        return self.step


def _wanted(pressure: Pressure) -> tuple[int, str]:
    if pressure.memory_share < MEMORY_GONE_SHARE:
        return 2, "memory"
    if pressure.memory_share < MEMORY_SCARCE_SHARE:
        return 1, "memory"
    return (1, "queue") if pressure.queue_share >= QUEUE_SHARE_MAX else (0, "")


def free_memory_share(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Share of the machine's memory that can be used without swapping; 1 where it cannot be told.

    Source: MemAvailable in proc_meminfo(5).
    """
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 1.0
    found: Mapping[str, int] = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest.split()
    }
    total, free = found.get("MemTotal", 0), found.get("MemAvailable", 0)
    return free / total if total else 1.0
