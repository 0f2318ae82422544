"""Follows the stages of a Pipeline through its console log, and tells which of them went well.

`[Pipeline]` lines say where blocks begin and end, not how they ended. A stage went well if a later one ran: after a
failure the later ones are skipped, or do not appear at all.
"""

import re
from dataclasses import dataclass

_OPENS = re.compile(r"^\[Pipeline\] \{(?: \((?P<branch>Branch: )?(?P<name>.+)\))?\s*$")
_STEP = re.compile(r"^\[Pipeline\] (?!getContext|stage\b|End of|Start of|node\b|parallel|[{}/])\w")
_SKIPPED = re.compile(r"^Stage \"(?P<name>[^\"]+)\" skipped due to earlier failure")
_NOT_RUN = re.compile(r"^Stage \"[^\"]+\" skipped due to ")
_FAILED_BRANCH = re.compile(r"^Failed in branch (?P<name>.+)$")
_PREFIX = re.compile(r"^\[(?P<name>[^\]]{1,80})\] ")
_POST = "Declarative: "
_NAMES_MAX = 500
"""Branches that are remembered: a Pipeline has a few dozen."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands.

    Attributes:
        stage: name of the stage or branch; empty outside of them.
        ran: how many stages had run when it was written, this one included.
        branch: whether the line belongs to a parallel branch.
    """

    stage: str
    ran: int
    branch: bool


@dataclass(slots=True)
class _Block:
    name: str
    branch: bool
    settled: bool = False


class StageTrail:
    """The stages of one log. Show it every line, in order."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._branches: set[str] = set()
        self._failed_branches: list[str] = []
        self._ran = 0
        self._last_run = ""
        self._failed = ""

    @property
    def failed_stage(self) -> str:
        """The stage that the log itself marks as failed: a branch, or the last one before others were skipped."""
        return self._failed_branches[0] if self._failed_branches else self._failed

    @property
    def last_stage(self) -> str:
        """The last one that ran."""
        return self._last_run

    def follow(self, text: str) -> bool:
        """Take a line; whether it is one of Jenkins' own about stages, which says nothing else."""
        if text.startswith("[Pipeline]"):
            opened = _OPENS.match(text)
            if opened:
                self._open(opened["name"] or "", bool(opened["branch"]))
            elif text.startswith("[Pipeline] }") and self._blocks:
                self._close()
            elif text.startswith("[Pipeline] End of"):
                self._blocks.clear()
            elif _STEP.match(text):
                self._runs()
            return True
        if _NOT_RUN.match(text):
            if not self._failed and _SKIPPED.match(text):
                self._failed = self._last_run
            if (inner := self._inner()) is not None:
                inner.settled = True
            return True
        if match := _FAILED_BRANCH.match(text):
            if len(self._failed_branches) < _NAMES_MAX:
                self._failed_branches.append(match["name"])
            return False
        if text.strip() and self._branch_of(text) is None:
            self._runs()
        return False

    def place(self, text: str) -> tuple[Place, str]:
        """Where a line stands, and the line without the name of its branch."""
        if (prefix := self._branch_of(text)) is not None:
            return Place(prefix["name"], self._ran, True), text[prefix.end() :]
        inner = self._inner()
        return Place(inner.name if inner else "", self._ran, False), text

    def went_well(self, place: Place, result: str) -> bool:
        """Whether what was written there cannot be why the build failed.

        Args:
            place: of a line.
            result: of the build; empty as long as it is not known.
        """
        if place.branch:
            # A branch that fails is named at its end.
            return bool(result) and bool(self._failed_branches) and place.stage not in self._failed_branches
        return place.ran < self._ran

    def _open(self, name: str, branch: bool) -> None:
        if branch and len(self._branches) < _NAMES_MAX:
            self._branches.add(name)
        if len(self._blocks) < _NAMES_MAX:
            self._blocks.append(_Block(name, branch))

    def _branch_of(self, text: str) -> re.Match[str] | None:
        prefix = _PREFIX.match(text) if text.startswith("[") else None
        return prefix if prefix and prefix["name"] in self._branches else None

    def _close(self) -> None:
        if self._blocks[-1].name and not self._blocks[-1].branch:
            # It was not skipped: a script may fail before its first step.
            self._runs()
        self._blocks.pop()

    def _inner(self) -> _Block | None:
        return next((block for block in reversed(self._blocks) if block.name), None)

    def _runs(self) -> None:
        """Something happens in the innermost stage: it was not skipped."""
        inner = self._inner()
        if inner is None or inner.settled:
            return
        inner.settled = True
        if inner.name.startswith(_POST):
            return
        self._last_run = inner.name
        if not any(block.branch for block in self._blocks):
            # Within parallel branches the order of stages says nothing.
            self._ran += 1
