"""The job resource: long work that a service runs in a process of its own."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.problems import Problem

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


class JobProgress(Contract):
    """How far a job is."""

    fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict, description="Such as step, loss, tokens_per_second.")


class Job(Contract):
    """State of a job. Written by the service that owns it; read by the command line and Jenkins."""

    schema_version: Literal[1] = 1
    id: str
    kind: str = Field(description="Plural resource name, such as `trainings`.")
    state: JobState
    attempt: int = Field(ge=0, description="Number of processes started for it; above 1 after a crash.")
    progress: JobProgress
    result: dict[str, Any] | None = Field(default=None, description="The manifest that came out, when succeeded.")
    error: Problem | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class JobEvent(Contract):
    """One server-sent event of a job, in order of `sequence`."""

    sequence: int = Field(ge=0)
    at: datetime
    type: Literal["state", "progress", "log"]
    data: dict[str, Any]
