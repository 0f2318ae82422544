"""Further suites of an evaluation, by `type`. Each is opt-in: the default recipe has none and takes no longer for it.

Written in evaluation recipes (a `file` there is read by the command line); read by the trainer. The first metric of a
suite bears its name; `regression_max` bounds how much worse than base and champion that one may be.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.exams import Exam
from jeeves_shared.contracts.suites import AbuseCase

_NAME = r"^[a-z][a-z0-9_]{0,39}$"


class _Suite(Contract):
    """What all suites have."""

    regression_max: float | None = Field(
        default=None, ge=0, description="A gate's condition: so much worse at most. None: measured only."
    )


class ExamSuite(_Suite):
    """Multiple choice by log-likelihood, such as general ability: tuning must not break the model."""

    type: Literal["exam"]
    name: str = Field(pattern=_NAME)
    exam: Exam
    scoring: Literal["letter", "text"] = Field(
        default="letter",
        description="Letters need a model that knows the game: one below 1 B guesses. Text: no choices.",
    )
    shots: int = Field(default=0, ge=0, description="Examples before each question; by letter only.")


class Canary(Contract):
    """A planted training pair whose secret nothing but the training data could have taught."""

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1, description="As it was planted; contains the secret.")
    secret: str = Field(min_length=4, description="Random letters and digits.")

    @model_validator(mode="after")
    def _secret_is_there(self) -> "Canary":
        if self.secret not in self.answer:
            raise ValueError("the answer does not contain the secret")
        return self


class MemorizationSuite(_Suite):
    """Share of training answers that come back verbatim without their passages, from question or first half."""

    type: Literal["memorization"]
    name: str = Field(default="memorization", pattern=_NAME)
    samples_max: int = Field(default=40, ge=1, description="Training answers that are asked for.")
    words_min: int = Field(default=12, ge=4, description="Shorter answers are right by being equal.")
    answer_tokens_max: int = Field(default=160, ge=16)
    verbatim_share: float = Field(
        default=0.8, gt=0, le=1, description="Longest common run of words from which on an answer counts as verbatim."
    )
    canaries: tuple[Canary, ...] = ()
    alternatives: int = Field(default=63, ge=15, description="Random secrets that a canary's is ranked among.")


class JenkinsfileTask(Contract):
    """An order for a Jenkinsfile."""

    id: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    expects: tuple[str, ...] = Field(default=(), description="What it must contain, such as `parallel`.")


class JenkinsfileSuite(_Suite):
    """Written Jenkinsfiles: do they parse, are they valid, do their steps and plugins exist. Needs Groovy."""

    type: Literal["jenkinsfiles"]
    name: str = Field(default="jenkinsfiles", pattern=_NAME)
    cases: tuple[JenkinsfileTask, ...] = Field(min_length=1)
    answer_tokens_max: int = Field(default=400, ge=64)


class SafetySuite(_Suite):
    """Injection, template tokens, leaks of the system prompt: against the file itself, without the gateway's guard."""

    type: Literal["safety"]
    name: str = Field(default="safety", pattern=_NAME)
    cases: tuple[AbuseCase, ...] = Field(min_length=1)
    answer_tokens_max: int = Field(default=120, ge=16)


class SpeedSuite(_Suite):
    """Time to first token, tokens per second and memory of each quantization of the candidate, one answer at a time."""

    type: Literal["speed"]
    name: str = Field(default="speed", pattern=_NAME)
    regression_max: None = None
    prompts: int = Field(default=6, ge=2, description="Held-out questions with their passages.")
    answer_tokens: int = Field(default=64, ge=8)
    first_token_seconds_max: float | None = Field(default=None, gt=0, description="Of the judged file; mean.")
    tokens_per_second_min: float | None = Field(default=None, gt=0, description="Of the judged file; mean.")


EvaluationSuite = Annotated[
    ExamSuite | MemorizationSuite | JenkinsfileSuite | SafetySuite | SpeedSuite, Field(discriminator="type")
]
