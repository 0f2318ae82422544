"""A candidate that answers a share of the conversations, and the sequential test that decides about it.

Wald's sequential probability ratio test: after each of the candidate's answers, is its share of bad answers what the
champion's is, or worse by `WORSE_BY`? It stops as early as the data allow, in either direction.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from jeeves_gateway.outcome import Outcome
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.requests import ServedModel, ServeModelRequest

Verdict = Literal["running", "worse", "as-good"]

FALSE_ALARM = 0.05
"""Chance of rolling a good candidate back."""
MISSED = 0.05
"""Chance of calling a candidate good that is worse by `WORSE_BY`."""
WORSE_BY = 0.10
"""Share of bad answers, in [0, 1], that a candidate may not have beyond the champion's."""
_SMOOTHING_ANSWERS = 20
_SMOOTHING_BAD = 1.0


class CanaryRequest(Contract):
    """`PUT /v1/admin/models/canary`."""

    serve: ServeModelRequest
    share: float = Field(gt=0, le=0.5, description="Of the conversations, in (0, 0.5].")


class CanaryState(Contract):
    """A canary, and what is known of it."""

    model: ServedModel
    share: float
    answers: int
    bad: int
    champion_answers: int
    champion_bad: int
    evidence: float = Field(description="Log likelihood ratio; worse at `worse_at`, as good at `good_at`.")
    worse_at: float
    good_at: float
    verdict: Verdict


@dataclass(slots=True)
class SequentialTest:
    """The test. A pure state machine.

    Source: A. Wald, Sequential Tests of Statistical Hypotheses, 1945; the champion's share is estimated alongside, with
    a prior of one bad answer in twenty, and taken as known.
    """

    answers: int = 0
    bad: int = 0
    champion_answers: int = 0
    champion_bad: int = 0
    evidence: float = 0.0
    verdict: Verdict = "running"

    def champion(self, bad: bool) -> None:
        """An answer of the champion."""
        self.champion_answers += 1
        self.champion_bad += bad

    def candidate(self, bad: bool) -> Verdict:
        """An answer of the candidate; the verdict does not change any more once it is there."""
        if self.verdict != "running":
            return self.verdict
        self.answers += 1
        self.bad += bad
        usual = (self.champion_bad + _SMOOTHING_BAD) / (self.champion_answers + _SMOOTHING_ANSWERS)
        usual = min(usual, 0.85)
        worse = usual + WORSE_BY
        self.evidence += math.log(worse / usual) if bad else math.log((1 - worse) / (1 - usual))
        if self.evidence >= worse_at():
            self.verdict = "worse"
        elif self.evidence <= good_at():
            self.verdict = "as-good"
        return self.verdict


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
    return bool({"unsupported", "invented-names", "repeating", "empty", "control-tokens", "model"} & {*outcome.reasons})
