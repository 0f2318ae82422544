"""A place in a text that must not stay as it is."""

from dataclasses import dataclass
from typing import Literal

FindingGroup = Literal["secret", "personal"]


@dataclass(frozen=True, order=True)
class Finding:
    """A secret or a personal item.

    Attributes:
        start, end: place in the text, in characters; `end` is exclusive.
        kind: machine-readable, lower case with hyphens: `api-token`, `email`.
        group: what it is counted under.
    """

    start: int
    end: int
    kind: str
    group: FindingGroup = "secret"


def without_overlaps(findings: list[Finding]) -> list[Finding]:
    """Findings in order; of overlapping ones the widest stays, secrets before personal items."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda item: (item.group != "secret", item.start - item.end, item.start)):
        if all(finding.end <= other.start or finding.start >= other.end for other in kept):
            kept.append(finding)
    return sorted(kept)
