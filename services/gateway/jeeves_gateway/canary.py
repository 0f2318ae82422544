"""A candidate that answers a share of the conversations, and the sequential test that decides about it.

Each answer of the candidate is paired with one of the champion. Pairs that differ decide: if both models are equally
good, either is the bad one half of the time; if the candidate's odds of a bad answer are `ODDS_RATIO` times the
champion's, it is the bad one more often. The test needs no assumption about the usual share of bad answers, and stops
as early as the data allow, in either direction.

An answer is bad if the sources do not support it, if it had to be replaced, if the engine failed, or if it took
`SLOW_FACTOR` times as long as the champion's usually do. What a reader says of an answer counts as one more.
"""

import hashlib
import math
import statistics
from collections import deque
from dataclasses import dataclass, field

from jeeves_gateway.outcome import Outcome
from jeeves_shared.contracts.canary import Verdict

FALSE_ALARM = 0.05
"""Chance of rolling a good candidate back."""
MISSED = 0.05
"""Chance of calling a candidate good whose odds of a bad answer are `ODDS_RATIO` times the champion's."""
ODDS_RATIO = 2.0
"""From here on a candidate counts as worse: 26 bad answers of 100 where the champion has 15."""
SLOW_FACTOR = 3.0
"""An answer that takes so many times the champion's median counts as bad, the champion's own too."""
_BAD = frozenset(
    {
        "unsupported",
        "invented-names",
        "repeating",
        "says-nothing",
        "empty",
        "control-tokens",
        "model",
        "refusal-overruled",
    }
)
_TIMES_MIN = 20
_TIMES_MAX = 200
_UNPAIRED_MAX = 500


@dataclass(slots=True)
class SequentialTest:
    """The test. A pure state machine.

    Source: A. Wald, Sequential Analysis, 1947, chapter 6 (double dichotomies).
    """

    answers: int = 0
    bad: int = 0
    champion_answers: int = 0
    champion_bad: int = 0
    evidence: float = 0.0
    verdict: Verdict = "running"
    _waiting: deque[bool] = field(default_factory=lambda: deque(maxlen=_UNPAIRED_MAX))
    _champions: deque[bool] = field(default_factory=lambda: deque(maxlen=_UNPAIRED_MAX))

    def champion(self, bad: bool) -> None:
        """An answer of the champion."""
        self.champion_answers += 1
        self.champion_bad += bad
        self._champions.append(bad)
        self._pair()

    def candidate(self, bad: bool) -> Verdict:
        """An answer of the candidate; the verdict does not change any more once it is there."""
        if self.verdict != "running":
            return self.verdict
        self.answers += 1
        self.bad += bad
        self._waiting.append(bad)
        self._pair()
        return self.verdict

    def _pair(self) -> None:
        while self._waiting and self._champions and self.verdict == "running":
            candidate, champion = self._waiting.popleft(), self._champions.popleft()
            if candidate != champion:
                share = ODDS_RATIO / (1 + ODDS_RATIO)
                self.evidence += math.log(2 * share if candidate else 2 * (1 - share))
            if self.evidence >= worse_at():
                self.verdict = "worse"
            elif self.evidence <= good_at():
                self.verdict = "as-good"


@dataclass(slots=True)
class UsualTime:
    """How long the champion's latest answers took."""

    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_MAX))

    def champion(self, seconds: float) -> None:
        """An answer of the champion."""
        self._seconds.append(seconds)

    def is_slow(self, seconds: float) -> bool:
        """Whether an answer took far longer than is usual; never as long as little is known."""
        return len(self._seconds) >= _TIMES_MIN and seconds > SLOW_FACTOR * statistics.median(self._seconds)


def worse_at() -> float:
    """Evidence from which a candidate counts as worse."""
    return math.log((1 - MISSED) / FALSE_ALARM)


def good_at() -> float:
    """Evidence from which a candidate counts as good as the champion."""
    return math.log(MISSED / (1 - FALSE_ALARM))


def in_share(conversation: str, share: float) -> bool:
    """Whether a conversation belongs to the canary: always the same answer for the same one.

    Args:
        conversation: what stays the same in it.
        share: in [0, 1].
    """
    return int.from_bytes(hashlib.sha256(conversation.encode()).digest()[:8]) < share * 2**64


def is_bad(outcome: Outcome) -> bool:
    """Whether an answer counts against the model that wrote it: not supported, replaced, or the model's own refusal."""
    return bool(_BAD & {*outcome.reasons})
