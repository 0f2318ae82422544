"""What a check of a Jenkinsfile says."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Style = Literal["declarative", "scripted", "unparsable"]


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        line: 1-based; of the statement that is wrong.
        column: 1-based.
        rule: stable name of the rule, for machines.
        message: what is wrong and what would be right.
        severity: `error` where Jenkins refuses the file, `warning` where only a controller can know.
    """

    line: int
    column: int
    rule: str
    message: str
    severity: Severity = "error"


@dataclass(frozen=True)
class Verdict:
    """What is known of one file.

    Attributes:
        name: of the file, as it was given.
        style: whether it holds a `pipeline` block, other Groovy, or no Groovy at all.
        findings: by line.
    """

    name: str
    style: Style
    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """No error; warnings may be there."""
        return all(finding.severity != "error" for finding in self.findings)
