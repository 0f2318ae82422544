"""All suites of a recipe on all files: comparisons, the gate's conditions, answers side by side."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.evaluation_suites import (
    EvaluationSuite,
    ExamSuite,
    JenkinsfileSuite,
    MemorizationSuite,
    SafetySuite,
    SpeedSuite,
)
from jeeves_shared.contracts.manifests import (
    AnswerSample,
    ArtifactRef,
    FileSpeed,
    GateCondition,
    MetricComparison,
)
from jeeves_shared.contracts.prompts import build_messages
from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_shared.measures.bootstrap import compare, mean_of
from jeeves_trainer.layout import findings_file
from jeeves_trainer.suites.base import Outcome, Suite, SuiteFile
from jeeves_trainer.suites.jenkinsfiles import Jenkinsfiles
from jeeves_trainer.suites.memorization import Memorization
from jeeves_trainer.suites.multiple_choice import MultipleChoice
from jeeves_trainer.suites.safety import Safety
from jeeves_trainer.suites.speed import Timing, file_speed, speed_conditions, time_answers

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class JudgedFile:
    """A file of the evaluation.

    Attributes:
        path: of its bytes.
        ref: its artifact.
        quantization: its type.
    """

    path: Path
    ref: ArtifactRef
    quantization: str


@dataclass(frozen=True)
class SuiteFindings:
    """What the suites found, for the report."""

    metrics: tuple[MetricComparison, ...] = ()
    conditions: tuple[GateCondition, ...] = ()
    samples: tuple[AnswerSample, ...] = ()
    speeds: tuple[FileSpeed, ...] = ()


class SuiteRunner:
    """The suites of one evaluation.

    Args:
        recipe: of the evaluation.
        training: samples that the candidate was trained on.
        questions: held-out samples with passages, for speed.
        work_dir: for outcomes and the engine's log.
    """

    def __init__(
        self,
        recipe: EvaluateRecipe,
        training: Sequence[TrainingSample],
        questions: Sequence[TrainingSample],
        work_dir: Path,
    ) -> None:
        self._recipe = recipe
        self._questions = questions
        self._work_dir = work_dir
        self._suites = [_build(one, training, recipe.seed) for one in recipe.suites if not isinstance(one, SpeedSuite)]
        self._settings = {one.name: one for one in recipe.suites}
        self._speed = [one for one in recipe.suites if isinstance(one, SpeedSuite)]

    def check(self) -> None:
        """Whether all can be run here, before anything is asked.

        Raises:
            EvaluationFailed: with what is missing.
        """
        for suite in self._suites:
            suite.check()

    def run(self, files: Mapping[str, JudgedFile], quantized: Sequence[JudgedFile], tell: Tell) -> SuiteFindings:
        """Ask every file.

        Args:
            files: `base`, `candidate` and perhaps `champion`.
            quantized: all files of the candidate, the judged one first; for speed.
            tell: told the share that is done, and what is being done; may raise to stop.

        Raises:
            EngineError, EvaluationFailed: a file cannot be run.
        """
        rounds = len(self._suites) * len(files) + len(self._speed) * len(quantized)
        done = 0
        metrics: list[MetricComparison] = []
        conditions: list[GateCondition] = []
        samples: list[AnswerSample] = []
        for suite in self._suites:
            outcomes: dict[str, Outcome] = {}
            for role, file in files.items():
                outcomes[role] = self._outcome(suite, file, _part(tell, done, rounds, f"{role}: {suite.name}"))
                done += 1
            found = self._compared(suite, outcomes)
            metrics += found
            if suite.regression_max is not None:
                conditions.append(not_worse(found[0], suite.regression_max))
            samples += _side_by_side(suite, outcomes)
        speeds: list[FileSpeed] = []
        for settings in self._speed:
            for file in quantized:
                message = f"{settings.name}: {file.quantization}"
                speeds.append(self._timed(settings, file, _part(tell, done, rounds, message)))
                done += 1
            conditions += speed_conditions(settings, speeds[-len(quantized)])
        return SuiteFindings(tuple(metrics), tuple(conditions), tuple(samples), tuple(speeds))

    def _outcome(self, suite: Suite, file: JudgedFile, tell: Callable[[float], None]) -> Outcome:
        saved = findings_file(self._work_dir, suite.name, self._asked(suite, file))
        if saved.is_file():
            known: Outcome = json.loads(saved.read_text(encoding="utf-8"))
            return known
        tell(0.0)
        outcome = suite.ask(SuiteFile(file.path, self._recipe, self._work_dir), tell)
        saved.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(saved, json.dumps(outcome).encode())
        return outcome

    def _asked(self, suite: Suite, file: JudgedFile) -> dict[str, Any]:
        return {
            "file": file.ref.sha256,
            "suite": self._settings[suite.name].model_dump(mode="json", exclude={"regression_max"}),
            "more": suite.asked,
            "limits": [self._recipe.seed, self._recipe.slots, self._recipe.context_tokens],
        }

    def _compared(self, suite: Suite, outcomes: Mapping[str, Outcome]) -> list[MetricComparison]:
        figures = {role: suite.figures(outcome) for role, outcome in outcomes.items()}
        champion = figures.get("champion")
        return [
            compare(
                metric,
                mean_of(figures["base"][metric.name]),
                mean_of(figures["candidate"][metric.name]),
                mean_of(champion[metric.name]) if champion else None,
                resamples=self._recipe.bootstrap_resamples,
                seed=self._recipe.seed,
            )
            for metric in suite.metrics
            if metric.name in figures["base"]
        ]

    def _timed(self, settings: SpeedSuite, file: JudgedFile, tell: Callable[[float], None]) -> FileSpeed:
        saved = self._work_dir / f"suite-{settings.name}-{file.ref.sha256}.json"
        if saved.is_file():
            raw = json.loads(saved.read_text(encoding="utf-8"))
            timings, memory = [Timing(**one) for one in raw["timings"]], int(raw["memory_bytes"])
        else:
            tell(0.0)
            chosen = self._questions[: settings.prompts]
            prompts = [build_messages(sample.pair.question, sample.passages) for sample in chosen]
            spec = SuiteFile(file.path, self._recipe, self._work_dir).spec(slots=1)
            timings, memory = time_answers(
                spec, prompts, settings.answer_tokens, lambda count: tell(count / len(prompts))
            )
            rows = {"timings": [asdict(timing) for timing in timings], "memory_bytes": memory}
            write_atomic(saved, json.dumps(rows).encode())
        return file_speed(
            file.quantization,
            file.ref,
            timings,
            memory,
            resamples=self._recipe.bootstrap_resamples,
            seed=self._recipe.seed,
        )


def not_worse(metric: MetricComparison, regression_max: float) -> GateCondition:
    """The condition of a suite: its first metric is worse than base and champion by a bound at most.

    Args:
        metric: the first one of the suite.
        regression_max: in the metric's unit.
    """
    sign = -1 if metric.higher_is_better else 1
    against = {"base": metric.difference}
    if metric.champion_difference is not None:
        against["champion"] = metric.champion_difference
    worse = max(sign * difference.value for difference in against.values())
    found = ", ".join(f"{_points(difference)} against the {role}" for role, difference in against.items())
    return GateCondition(
        name=f"{metric.name}_not_worse",
        passed=worse <= regression_max + 1e-9,
        reason=f"{metric.name.replace('_', ' ')} {metric.base.value:.1%} → {metric.candidate.value:.1%}, {found}; "
        f"asked: worse by at most {regression_max * 100:.1f} points",
    )


def _points(share: Estimate) -> str:
    return f"{share.value * 100:+.1f} ({share.low * 100:+.1f} … {share.high * 100:+.1f}) points"


def _build(settings: EvaluationSuite, training: Sequence[TrainingSample], seed: int) -> Suite:
    if isinstance(settings, ExamSuite):
        return MultipleChoice(settings)
    if isinstance(settings, MemorizationSuite):
        return Memorization(settings, training, seed)
    if isinstance(settings, JenkinsfileSuite):
        return Jenkinsfiles(settings)
    if isinstance(settings, SafetySuite):
        return Safety(settings)
    raise TypeError(f"a suite of an unknown type {settings.type}")


def _part(tell: Tell, done: int, rounds: int, message: str) -> Callable[[float], None]:
    return lambda share: tell((done + share) / rounds, message)


def _side_by_side(suite: Suite, outcomes: Mapping[str, Outcome]) -> list[AnswerSample]:
    pairs = zip(suite.shown(outcomes["base"]), suite.shown(outcomes["candidate"]), strict=True)
    return [
        AnswerSample(
            suite=suite.name, question=base.question, reference=base.reference, base=base.answer, candidate=tuned.answer
        )
        for base, tuned in pairs
    ]
