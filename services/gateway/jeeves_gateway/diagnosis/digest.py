"""Reads a log once, line by line, and keeps the little that a diagnosis needs: stages, findings, the end."""

import re
from collections import deque
from dataclasses import dataclass, field

from jeeves_gateway.diagnosis.console import Line
from jeeves_gateway.diagnosis.masking import Masker
from jeeves_gateway.diagnosis.needles import all_needles
from jeeves_gateway.diagnosis.rules import Rule, filled
from jeeves_gateway.diagnosis.stages import Place, StageTrail
from jeeves_shared.contracts.diagnosis import Confidence, EvidenceLine, LogFindings

EVIDENCE_LINES_MAX = 8
_KEPT_PER_RULE = 3
_TAIL_LINES = 12
_OF_COMMAND_MAX = 40
_FOLLOWING_LINES = 3
_LINE_SHOWN_CHARACTERS = 400

_FINISHED = re.compile(r"^Finished: (?P<result>[A-Z_]+)\s*$")
_STACK_FRAME = re.compile(r"^\s+(?:at |\.{3} \d+ more)|^\s*$")
_SUSPICIOUS_WORDS = (
    *("error", "fail", "exception", "fatal", "cannot", "could not", "unable", "denied", "refused", "invalid"),
    *("no such", "missing", "rejected", "undefined", "expired", "killed", "not found"),
)
_SUSPICIOUS = re.compile(
    r"(?i)\b(?:errors?|fail(?:ed|ure|ures|ing)?|exception|fatal|cannot|could not|unable|denied|refused|invalid|no such|"
    r"missing|rejected|undefined|expired|killed|not found)\b"
)
_PIPELINE_LINE = re.compile(r"^\[Pipeline\]|^Finished: |^Stage \"")
_COMMAND = re.compile(r"^\++ (?P<exits>exit\b)?")
"""What `sh -x` prints before it runs a command: it quotes words that nobody has said yet."""
_PASSED = re.compile(r"^\W*(?:PASS|PASSED|ok)\b|\bPASSED\b|^\s*[✓✔] ")
_LOWER_LEVEL = re.compile(r"(?:[\d:.,TZ/+()-]+\s+){0,3}\[?(?:npm )?(?i:warn(?:ing)?|debug|trace|info|notice)\b(?!\]\[)")
_TRIED_AGAIN = re.compile(
    r"\blevel=(?:warn|info|debug)|(?i:\b(?:will retry|retrying|ignored?\)|falling back|attempt \d+ (?:failed|of)))"
)
"""Lines of a lower level, and of things that are tried again: hints, unless nothing else is said."""
_MILD_DISCOUNT = 2.5
_OVERCOME_DISCOUNT = 2.0
"""Of what was said before the script went on: `sh -e` ends with the first command that fails."""


@dataclass(slots=True)
class _Finding:
    rule: Rule
    match: re.Match[str]
    line: Line
    place: Place
    mild: bool
    overcome: bool = False
    following: list[Line] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """What the rule says, less if it is said mildly."""
        return self.rule.weight - _MILD_DISCOUNT * self.mild - _OVERCOME_DISCOUNT * self.overcome


class LogDigest:
    """What is kept of one log. Memory is bounded by the number of rules.

    Args:
        masker: learns the secrets of every line.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._needles = all_needles()
        self._trail = StageTrail()
        self._findings: dict[str, list[_Finding]] = {}
        self._open: list[_Finding] = []
        self._of_command: list[_Finding] = []
        self._tail: deque[tuple[Line, Place]] = deque(maxlen=_TAIL_LINES)
        self._suspicious: deque[tuple[Line, Place]] = deque(maxlen=EVIDENCE_LINES_MAX)
        self._result = ""

    def read(self, line: Line) -> None:
        """Take the next line."""
        if self._masker.notice(line.text):
            return
        if self._open:
            self._extend(line)
        if self._trail.follow(line.text):
            self._of_command.clear()
            return
        place, text = self._trail.place(line.text)
        if match := _FINISHED.match(text):
            self._result = match["result"]
        if not text.strip():
            return
        self._tail.append((line, place))
        if command := _COMMAND.match(text):
            self._begin_command(place, goes_on=not command["exits"])
            return
        lowered, mild = text.lower(), bool(_LOWER_LEVEL.match(text))
        candidates = self._needles.rules_for(lowered, 3 if mild else 1)
        found = next(((rule, match) for rule in candidates if (match := rule.pattern.search(text))), None)
        suspicious = not mild and any(word in lowered for word in _SUSPICIOUS_WORDS) and _SUSPICIOUS.search(text)
        if (found is None and not suspicious) or _PASSED.search(text):
            return
        mild = mild or bool(_TRIED_AGAIN.search(text))
        if found is not None:
            self._keep(_Finding(*found, line, place, mild))
        if suspicious and not mild and not _STACK_FRAME.match(text):
            self._suspicious.append((line, place))

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
        levels: dict[int, Confidence] = {5: "high", 4: "high", 3: "medium", 2: "low", 1: "low"}
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

    def _begin_command(self, place: Place, goes_on: bool) -> None:
        """A script runs its next command: what was said before did not end it."""
        for finding in self._of_command if goes_on else ():
            finding.overcome = finding.overcome or finding.place.stage == place.stage
        self._of_command = [finding for finding in self._of_command if finding.place.stage != place.stage]

    def _keep(self, finding: _Finding) -> None:
        kept = self._findings.setdefault(finding.rule.name, [])
        kept.append(finding)
        if len(kept) > _KEPT_PER_RULE:
            # The first one, and the last ones; those that hardly count go first.
            del kept[next((number for number, one in enumerate(kept) if one.mild or one.overcome), 1)]
        self._open.append(finding)
        self._of_command = [*self._of_command, finding][-_OF_COMMAND_MAX:]

    def _extend(self, line: Line) -> None:
        for finding in list(self._open):
            if _STACK_FRAME.match(line.text) or len(finding.following) >= _FOLLOWING_LINES:
                self._open.remove(finding)
            else:
                finding.following.append(line)

    def _failing_stage(self, best: _Finding | None) -> str:
        trail = self._trail
        return trail.failed_stage or (best.place.stage if best else "") or trail.last_stage

    def _well(self, place: Place) -> bool:
        return self._trail.went_well(place, self._result)

    def _best(self) -> _Finding | None:
        everything = [finding for kept in self._findings.values() for finding in kept]
        # What was said in a stage that went well counts only if nothing else was said.
        everything = [finding for finding in everything if not self._well(finding.place)] or everything
        stage = self._trail.failed_stage

        def worth(finding: _Finding) -> tuple[float, bool, int]:
            # Within the same weight the failing stage counts, then the first of several: the others follow from it.
            return finding.worth, bool(stage) and finding.place.stage == stage, -finding.line.number

        specific = [finding for finding in everything if finding.worth > 1]
        if specific:
            return max(specific, key=worth)
        # General messages get better towards the end.
        return max(everything, key=lambda finding: (finding.worth, finding.line.number), default=None)

    def _near(self, lines: deque[tuple[Line, Place]]) -> list[tuple[Line, Place]]:
        """Lines that are not of stages that went well, if there are any."""
        return [(line, place) for line, place in lines if not self._well(place)] or [*lines]

    def _evidence(self, best: _Finding | None) -> tuple[EvidenceLine, ...]:
        chosen: dict[int, tuple[Line, str]] = {}

        def add(line: Line, place: Place) -> None:
            if len(chosen) < EVIDENCE_LINES_MAX and line.text.strip():
                chosen.setdefault(line.number, (line, place.stage))

        if best is not None:
            add(best.line, best.place)
            if best.rule.failure_type in ("syntax", "unknown", "compile", "dependency", "test"):
                for line in best.following:
                    add(line, best.place)
            others = [
                finding
                for kept in self._findings.values()
                for finding in kept
                if finding is not best and not finding.overcome and not self._well(finding.place)
            ]
            others.sort(key=lambda finding: (-finding.worth, finding.line.number))
            for finding in others[:3]:
                add(finding.line, finding.place)
        if best is None or best.worth <= 1:
            for line, place in self._near(self._suspicious)[-4:]:
                add(line, place)
            for line, place in self._near(self._tail)[-5:]:
                add(line, place)
        masked = self._masker.masked
        return tuple(
            EvidenceLine(line=number, text=masked(line.text[:_LINE_SHOWN_CHARACTERS]), stage=masked(stage))
            for number, (line, stage) in sorted(chosen.items())
            if not _PIPELINE_LINE.match(line.text)
        )
