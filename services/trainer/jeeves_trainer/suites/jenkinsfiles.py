"""Jenkinsfiles that a file writes, before the validator of `jeeves lint`."""

import re
from collections.abc import Mapping, Sequence

from jeeves_shared.contracts.evaluation_suites import JenkinsfileSuite
from jeeves_shared.contracts.prompts import build_messages
from jeeves_shared.jenkinsfile import JenkinsfileLinter, groovy_available
from jeeves_shared.measures.bootstrap import MetricName
from jeeves_shared.measures.texts import terms_present
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.generation import write_answers
from jeeves_trainer.suites.base import Outcome, Shown, SuiteFile, Tell, mean_metric

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL)
_PIPELINE = re.compile(r"^\s*pipeline\s*\{", re.MULTILINE)
_SHOWN = 4


class Jenkinsfiles:
    """Share of orders that are answered by a Declarative Pipeline without an error.

    Args:
        settings: of the recipe.
    """

    def __init__(self, settings: JenkinsfileSuite) -> None:
        self._settings = settings
        self.name = settings.name
        self.regression_max = settings.regression_max
        self.asked: Sequence[str] = ()
        self.metrics: Sequence[MetricName] = (
            mean_metric(self.name),
            mean_metric(f"{self.name}_parsed"),
            mean_metric(f"{self.name}_known"),
            mean_metric(f"{self.name}_asked"),
        )

    def check(self) -> None:
        """Groovy parses what is written.

        Raises:
            EvaluationFailed: it is not installed.
        """
        if not groovy_available():
            raise EvaluationFailed(
                f"The suite {self.name} needs Groovy and a Java: install both (apt install groovy), or leave the suite "
                "out of the recipe."
            )

    def ask(self, file: SuiteFile, tell: Tell) -> Outcome:
        """Answers, and the validator's findings on each, most grave first."""
        cases = self._settings.cases
        prompts = [build_messages(case.prompt, ()) for case in cases]
        answers = write_answers(
            file.spec(), prompts, self._settings.answer_tokens_max, lambda done: tell(done / len(cases))
        )
        with JenkinsfileLinter() as linter:
            verdicts = [judge_pipeline(linter, answer) for answer in answers]
        return {"answers": answers, "verdicts": verdicts}

    def figures(self, outcome: Outcome) -> Mapping[str, Sequence[float]]:
        """Valid; parsed at all; every step, option and plugin is known; what was ordered is there."""
        verdicts: list[dict[str, bool]] = outcome["verdicts"]
        asked = zip(outcome["answers"], self._settings.cases, strict=True)
        return {
            self.name: [float(verdict["valid"]) for verdict in verdicts],
            f"{self.name}_parsed": [float(verdict["parsed"]) for verdict in verdicts],
            f"{self.name}_known": [float(verdict["known"]) for verdict in verdicts],
            f"{self.name}_asked": [
                terms_present(pipeline_text(answer), case.expects) if case.expects else 1.0 for answer, case in asked
            ],
        }

    def shown(self, outcome: Outcome) -> Sequence[Shown]:
        """The first orders, with what the validator says."""
        rows = list(zip(self._settings.cases, outcome["answers"], outcome["verdicts"], strict=True))[:_SHOWN]
        return [
            Shown(case.prompt, "a valid Declarative Pipeline", f"{answer}\n\nvalidator: {verdict['said']}")
            for case, answer, verdict in rows
        ]


def pipeline_text(answer: str) -> str:
    """The pipeline in an answer: its first code block with one, else from `pipeline {` on, else empty."""
    for block in _FENCE.findall(answer):
        if _PIPELINE.search(block):
            return str(block)
    found = _PIPELINE.search(answer)
    return answer[found.start() :] if found else ""


def judge_pipeline(linter: JenkinsfileLinter, answer: str) -> dict[str, bool | str]:
    """What the validator says of an answer.

    Returns:
        `parsed`, `valid` (no error), `known` (no finding at all: every name exists), and `said` in words.

    Raises:
        GroovyFailed: the parser did not answer.
    """
    text = pipeline_text(answer)
    if not text:
        return {"parsed": False, "valid": False, "known": False, "said": "there is no pipeline"}
    verdict = linter.check(text)
    declarative = verdict.style == "declarative"
    findings = [f"line {finding.line}: {finding.message}" for finding in verdict.findings]
    return {
        "parsed": verdict.style != "unparsable",
        "valid": declarative and verdict.valid,
        "known": declarative and not verdict.findings,
        "said": "; ".join(findings[:3]) or "no error",
    }
