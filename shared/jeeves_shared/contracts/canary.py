"""The trial of a candidate beside the champion, between pipelines, operators and the gateway."""

from typing import Literal, Self

from pydantic import Field, model_validator

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.requests import ServedModel, ServeModelRequest

Verdict = Literal["running", "worse", "as-good"]

SHARE_MAX = 0.5
"""Of the conversations, unless the candidate only writes along: the test needs answers of both."""


class CanaryRequest(Contract):
    """`PUT /v1/admin/models/canary`."""

    serve: ServeModelRequest
    share: float = Field(gt=0, le=1, description=f"Of the conversations, in (0, {SHARE_MAX}]; (0, 1] with `shadow`.")
    shadow: bool = Field(default=False, description="The candidate's answers are judged, and nobody gets them.")

    @model_validator(mode="after")
    def _leaves_the_champion_its_part(self) -> Self:
        if self.share > SHARE_MAX and not self.shadow:
            raise ValueError(f"share: at most {SHARE_MAX}, as the champion must answer too; 1 is possible with shadow")
        return self


class CanaryState(Contract):
    """A canary that runs, or the last one, and what is known of it."""

    model: ServedModel
    share: float
    shadow: bool
    ended: str = Field(description="Why it answers no longer, such as `canary-worse`; empty while it does.")
    answers: int
    bad: int
    champion_answers: int
    champion_bad: int
    evidence: float = Field(description="Log likelihood ratio; worse at `worse_at`, as good at `good_at`.")
    worse_at: float
    good_at: float
    verdict: Verdict
