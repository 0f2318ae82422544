"""The diagnosis of a console log. Written by the gateway; read by the command line, Jenkins and people."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.answers import Citation, Rung
from jeeves_shared.contracts.base import Contract

FailureType = Literal[
    "none",
    "unknown",
    "syntax",
    "pipeline-logic",
    "sandbox",
    "scm-config",
    "scm-auth",
    "network",
    "credentials",
    "agent",
    "container",
    "missing-tool",
    "dependency",
    "compile",
    "test",
    "out-of-memory",
    "disk-full",
    "permission",
    "timeout",
    "aborted",
    "quality-gate",
    "artifact",
    "plugin",
    "script",
]
Confidence = Literal["high", "medium", "low"]


class EvidenceLine(Contract):
    """A line of the log that supports the diagnosis."""

    line: int = Field(ge=1, description="Number in the original log, as it was sent; the first is 1.")
    text: str = Field(description="Without ConsoleNotes, colours and time stamp; secrets are placeholders.")
    stage: str = Field(default="", description="Stage that was running; empty outside of stages.")


class MaskedValue(Contract):
    """Something that no model saw. The value itself is told to nobody."""

    placeholder: str = Field(description="What stands in its place, such as `[SECRET-1]`.")
    kind: str = Field(description="`secret`, `email`, `user`, `address`, …")
    count: int = Field(ge=0, description="Times that it stood in the lines that were looked at.")


class LogFindings(Contract):
    """What rules alone find in a log."""

    failure_type: FailureType
    rule: str = Field(default="", description="Name of the rule that decided; empty if none did.")
    result: str = Field(
        default="", description="Jenkins' own word: `FAILURE`, `UNSTABLE`, …; empty if the log has none."
    )
    failing_stage: str = ""
    cause: str
    evidence: tuple[EvidenceLine, ...]
    fix: tuple[str, ...] = Field(description="Steps, most likely first.")
    confidence: Confidence = Field(description="`high`: a specific rule; `medium`: a general one; `low`: none.")
    lines: int = Field(ge=0, description="Lines of the log.")
    size_bytes: int = Field(ge=0, description="Unpacked size of the log.")
    masked: tuple[MaskedValue, ...] = ()


class Diagnosis(Contract):
    """`POST /v1/diagnose`."""

    schema_version: Literal[1] = 1
    id: str = Field(description="Response id: for lineage and feedback.")
    findings: LogFindings
    explanation: str = Field(description="From the documentation, with markers `[n]`; empty if it has nothing on this.")
    citations: tuple[Citation, ...] = ()
    rung: Rung = Field(description="`extractive`: rules and quotations only, no model.")
    model: str = ""
    index_id: str = ""
    reasons: tuple[str, ...] = ()


class PromptMessage(Contract):
    """One message as a model would see it."""

    role: Literal["system", "user", "assistant"]
    content: str


class DiagnosisPreview(Contract):
    """`POST /v1/diagnose?preview=true`: exactly what a model would see, and what was masked. No model is asked."""

    schema_version: Literal[1] = 1
    findings: LogFindings
    messages: tuple[PromptMessage, ...]
