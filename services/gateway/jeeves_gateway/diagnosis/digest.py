"""Reads a log once, line by line, and keeps the little that a diagnosis needs: stages, findings, the end."""

import re
from collections import deque
from dataclasses import dataclass, field

from jeeves_gateway.diagnosis.console import Line
from jeeves_gateway.diagnosis.masking import Masker
from jeeves_gateway.diagnosis.rules import Rule, filled, rules
from jeeves_shared.contracts.diagnosis import Confidence, EvidenceLine, LogFindings

EVIDENCE_LINES_MAX = 8
_KEPT_PER_RULE = 3
_TAIL_LINES = 12
_FOLLOWING_LINES = 3
_LINE_SHOWN_CHARACTERS = 400

_STAGE_OPENS = re.compile(r"^\[Pipeline\] \{(?: \((?:Branch: )?(?P<name>.+)\))?\s*$")
_SKIPPED = re.compile(r"^Stage \"(?P<name>[^\"]+)\" skipped due to earlier failure")
_FAILED_BRANCH = re.compile(r"^Failed in branch (?P<name>.+)$")
_BRANCH_PREFIX = re.compile(r"^\[(?P<name>[^\]]{1,80})\] ")
_FINISHED = re.compile(r"^Finished: (?P<result>[A-Z_]+)\s*$")
_STACK_FRAME = re.compile(r"^\s+(?:at |\.{3} \d+ more)|^\s*$")
_SUSPICIOUS = re.compile(
    r"(?i)\b(?:error|fail(?:ed|ure|ing)?|exception|fatal|cannot|could not|unable|denied|refused|invalid)\b"
)
_SUSPICIOUS_WORDS = (
    "error",
    "fail",
    "exception",
    "fatal",
    "cannot",
    "could not",
    "unable",
    "denied",
    "refused",
    "invalid",
)
_PIPELINE_LINE = re.compile(r"^\[Pipeline\]|^Finished: |^Stage \"")


@dataclass(slots=True)
class _Finding:
    rule: Rule
    match: re.Match[str]
    line: Line
    stage: str
    following: list[Line] = field(default_factory=list)


class LogDigest:
    """What is kept of one log. Memory is bounded by the number of rules.

    Args:
        masker: learns the secrets of every line.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._needles = [(needle, rule) for rule in rules() for needle in rule.needles]
        self._findings: dict[str, list[_Finding]] = {}
        self._blocks: list[str] = []
        self._branches: set[str] = set()
        self._open: list[_Finding] = []
        self._tail: deque[tuple[Line, str]] = deque(maxlen=_TAIL_LINES)
        self._suspicious: deque[tuple[Line, str]] = deque(maxlen=EVIDENCE_LINES_MAX)
        self._failed_stage = ""
        self._last_stage = ""
        self._stage_before_skip = ""
        self._result = ""

    def read(self, line: Line) -> None:
        """Take the next line."""
        text = line.text
        if self._masker.notice(text):
            return
        if text.startswith("[Pipeline]"):
            self._follow_blocks(text)
            return
        stage = self._stage_of(text)
        if self._open:
            self._extend(line)
        lowered = text.lower()
        self._note_end(text)
        found = False
        # A list of plain searches is ten times as fast as one alternation.
        for rule in [rule for needle, rule in self._needles if needle in lowered]:
            if not found and (match := rule.pattern.search(text)):
                self._keep(_Finding(rule, match, line, stage))
                found = True
        if text.strip():
            self._tail.append((line, stage))
            if (
                any(word in lowered for word in _SUSPICIOUS_WORDS)
                and _SUSPICIOUS.search(text)
                and not _STACK_FRAME.match(text)
            ):
                self._suspicious.append((line, stage))

    def findings(self, lines: int, size_bytes: int) -> LogFindings:
        """What the rules say; every text is masked.

        Args:
            lines: of the whole log.
            size_bytes: of the whole log, unpacked.
        """
        best = None if self._result == "SUCCESS" else self._best()
        evidence = self._evidence(best)
        masked = self._masker.masked
        if best is None:
            failed = self._result not in ("", "SUCCESS")
            cause = (
                "The build succeeded." if self._result == "SUCCESS" else "No known failure message stands in this log."
            )
            return LogFindings(
                failure_type="none" if self._result == "SUCCESS" else "unknown",
                result=self._result,
                failing_stage=masked(self._failing_stage(None)) if failed else "",
                cause=cause,
                evidence=() if self._result == "SUCCESS" else evidence,
                fix=() if self._result == "SUCCESS" else ("Read the lines that are shown, and those before them.",),
                confidence="high" if self._result == "SUCCESS" else "low",
                lines=lines,
                size_bytes=size_bytes,
                masked=self._masker.summary(),
            )
        levels: dict[int, Confidence] = {3: "high", 2: "medium", 1: "low"}
        return LogFindings(
            failure_type=best.rule.failure_type,
            rule=best.rule.name,
            result=self._result,
            failing_stage=masked(self._failing_stage(best)),
            cause=masked(filled(best.rule.cause, best.match)),
            evidence=evidence,
            fix=tuple(masked(filled(step, best.match)) for step in best.rule.fix),
            confidence=levels[best.rule.weight],
            lines=lines,
            size_bytes=size_bytes,
            masked=self._masker.summary(),
        )

    def search_text(self) -> str:
        """What to look up in the documentation; masked."""
        best = self._best()
        if best is None:
            return ""
        return best.rule.search or self._masker.masked(best.line.text)[:200]

    def _follow_blocks(self, text: str) -> None:
        opened = _STAGE_OPENS.match(text)
        if opened:
            name = opened["name"] or ""
            self._blocks.append(name)
            if "(Branch: " in text:
                self._branches.add(name)
            if name and not name.startswith("Declarative: "):
                self._last_stage = name
        elif text.startswith("[Pipeline] }") and self._blocks:
            self._blocks.pop()

    def _stage_of(self, text: str) -> str:
        prefix = _BRANCH_PREFIX.match(text)
        if prefix and prefix["name"] in self._branches:
            return prefix["name"]
        return next((name for name in reversed(self._blocks) if name), "")

    def _note_end(self, text: str) -> None:
        if match := _FINISHED.match(text):
            self._result = match["result"]
        elif match := _FAILED_BRANCH.match(text):
            self._failed_stage = self._failed_stage or match["name"]
        elif not self._stage_before_skip and _SKIPPED.match(text):
            last = [finding for kept in self._findings.values() for finding in kept if finding.stage]
            latest = max(last, key=lambda finding: finding.line.number, default=None)
            self._stage_before_skip = latest.stage if latest else ""

    def _keep(self, finding: _Finding) -> None:
        kept = self._findings.setdefault(finding.rule.name, [])
        kept.append(finding)
        if len(kept) > _KEPT_PER_RULE:
            # The first one, and the last ones.
            del kept[1]
        self._open.append(finding)

    def _extend(self, line: Line) -> None:
        for finding in list(self._open):
            if _STACK_FRAME.match(line.text) or len(finding.following) >= _FOLLOWING_LINES:
                self._open.remove(finding)
            else:
                finding.following.append(line)

    def _failing_stage(self, best: _Finding | None) -> str:
        return self._failed_stage or (best.stage if best else "") or self._stage_before_skip or self._last_stage

    def _best(self) -> _Finding | None:
        everything = [finding for kept in self._findings.values() for finding in kept]
        stage = self._failed_stage or self._stage_before_skip

        def worth(finding: _Finding) -> tuple[int, bool, int]:
            # Within the same weight the failing stage counts, then the first of several: the others follow from it.
            return finding.rule.weight, bool(stage) and finding.stage == stage, -finding.line.number

        specific = [finding for finding in everything if finding.rule.weight > 1]
        if specific:
            return max(specific, key=worth)
        # General messages get better towards the end.
        return max(everything, key=lambda finding: finding.line.number, default=None)

    def _evidence(self, best: _Finding | None) -> tuple[EvidenceLine, ...]:
        chosen: dict[int, tuple[Line, str]] = {}

        def add(line: Line, stage: str) -> None:
            if len(chosen) < EVIDENCE_LINES_MAX and line.text.strip():
                chosen.setdefault(line.number, (line, stage))

        if best is not None:
            add(best.line, best.stage)
            if best.rule.failure_type in ("syntax", "unknown", "compile", "dependency"):
                for line in best.following:
                    add(line, best.stage)
            others = [finding for kept in self._findings.values() for finding in kept if finding is not best]
            others.sort(key=lambda finding: (-finding.rule.weight, finding.line.number))
            for finding in others[:3]:
                add(finding.line, finding.stage)
        if best is None or best.rule.weight == 1:
            for line, stage in [*self._suspicious][-4:]:
                add(line, stage)
            for line, stage in [*self._tail][-5:]:
                add(line, stage)
        masked = self._masker.masked
        return tuple(
            EvidenceLine(line=number, text=masked(line.text[:_LINE_SHOWN_CHARACTERS]), stage=masked(stage))
            for number, (line, stage) in sorted(chosen.items())
            if not _PIPELINE_LINE.match(line.text)
        )
