"""Evaluation suites: a user's own cases of four kinds, and the report on how the running gateway answers them."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jeeves_shared.contracts.answers import Citation
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.estimates import Estimate

SuiteKind = Literal["answerable", "out_of_scope", "abuse", "logs"]


def _text_of_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _nothing_is_none(value: Any) -> Any:
    return [] if value is None else value


CaseId = Annotated[str, BeforeValidator(_text_of_number), Field(min_length=1)]
"""Numbers are taken as they are written: spreadsheets export ids so."""


class SuiteCase(BaseModel):
    """One line of a suite. Written by users, so more fields are ignored; read by the command line."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: CaseId


class AnswerableCase(SuiteCase):
    """A question that the served documents answer."""

    kind: str = Field(min_length=1, description="For the report, such as `how-to`.")
    question: str = Field(min_length=1)
    reference_answer: str
    key_terms: list[str] = Field(description="Facts that a right answer contains, literally.")
    source_path: str = Field(description="Of the document that answers it, inside its collection.")
    also_acceptable_paths: Annotated[list[str], BeforeValidator(_nothing_is_none)] = Field(
        default=[], description="Other documents that answer it."
    )
    evidence: Any = Field(default=None, description="For people, in any form.")


class OutOfScopeCase(SuiteCase):
    """A question whose right answer is a refusal or a correction."""

    category: str = Field(min_length=1)
    question: str = Field(min_length=1)
    must_not: list[str] = Field(description="Strings that only a wrong answer contains.")


class AbuseCase(SuiteCase):
    """An attempt to make the assistant do what it must not."""

    category: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    must: list[str]
    must_not: list[str]
    document: str | None = Field(default=None, description="Put among the retrieved passages.")


class LogCase(SuiteCase):
    """A console log with its diagnosis."""

    log_path: str = Field(min_length=1, description="Relative to the suite's folder or `--base`.")
    question: str = Field(min_length=1)
    reference_diagnosis: str
    must_mention_any: list[list[str]] = Field(description="Groups: one word of each must appear.")
    must_not_claim: list[str]


CASE_TYPES: dict[SuiteKind, type[SuiteCase]] = {
    "answerable": AnswerableCase,
    "out_of_scope": OutOfScopeCase,
    "abuse": AbuseCase,
    "logs": LogCase,
}


class SuiteRow(Contract):
    """One case, asked and scored."""

    id: str
    kind: SuiteKind
    category: str = Field(description="`kind` of an answerable case, `category` of the others; empty for logs.")
    question: str
    answer: str
    rung: str = ""
    model: str = ""
    response_id: str = ""
    refused: bool = False
    citations: tuple[Citation, ...] = ()
    reasons: tuple[str, ...] = ()
    seconds: float = Field(ge=0)
    scores: dict[str, float] = Field(description="By metric, each in [0, 1]; empty if the case could not be asked.")
    misses: tuple[str, ...] = Field(default=(), description="What is missing or must not be there, for people.")
    error: str = Field(default="", description="Why it could not be asked.")


class SuiteMetric(Contract):
    """A mean over the cases of a group, with its interval."""

    name: str
    cases: int = Field(ge=1)
    estimate: Estimate


class SuiteGroup(Contract):
    """Figures of one kind, or of one category of it."""

    kind: SuiteKind
    category: str = Field(default="", description="Empty: all of the kind.")
    cases: int = Field(ge=1)
    errors: int = Field(ge=0)
    metrics: tuple[SuiteMetric, ...]


class LabelledAnswer(BaseModel):
    """An answer that a person judged, to calibrate a judge model on. Written by users; read by the command line."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", strict=True)

    question: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    answer: str
    right: bool


class JudgeFigures(Contract):
    """How a judge model agrees with people's labels."""

    url: str
    model: str
    labels: int
    labels_sha256: str
    without_verdict: int = Field(ge=0, description="Counted as disagreement.")
    agreement: Estimate
    kappa: Estimate
    counts: bool = Field(description="Whether the rows have its score `judge`.")
    reason: str


class SuiteReport(Contract):
    """What `jeeves evaluate --suite … --json` prints. Written by the command line; read by pipelines and people."""

    schema_version: Literal[1] = 1
    suites: dict[str, str] = Field(description="sha256 by file name: a changed suite is visible.")
    gateway: str = Field(description="Address that was asked.")
    models: tuple[str, ...] = Field(description="Model versions that answered.")
    resamples: int
    seed: int
    groups: tuple[SuiteGroup, ...]
    rows: tuple[SuiteRow, ...]
    notes: tuple[str, ...] = Field(description="Ignored fields, and what was done otherwise than usual.")
    missed_bounds: tuple[str, ...] = Field(default=(), description="Of `--at-least`.")
    judge: JudgeFigures | None = Field(default=None, description="Of `--judge`.")
    created_at: datetime
