"""What a suite is: it asks a file, and turns what the file said into figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_shared.engine.spec import EngineSpec
from jeeves_shared.measures.bootstrap import MetricName
from jeeves_trainer.generation import engine_spec
from jeeves_trainer.settings import job_threads

Tell = Callable[[float], None]
"""Told the share of a file's suite that is done, in [0, 1]; may raise to stop."""

Outcome = dict[str, Any]
"""What a file did, as JSON: kept, so that neither a restarted nor a later job asks it again."""


@dataclass(frozen=True)
class SuiteFile:
    """A file before a suite, and what it may use.

    Attributes:
        gguf: the file.
        recipe: slots and context.
        work_dir: for the engine's log.
    """

    gguf: Path
    recipe: EvaluateRecipe
    work_dir: Path

    def spec(self, slots: int | None = None) -> EngineSpec:
        """How to run it."""
        return engine_spec(
            self.gguf,
            self.work_dir / "engine.log",
            slots=slots or self.recipe.slots,
            context_tokens=self.recipe.context_tokens,
            threads=job_threads(),
        )


@dataclass(frozen=True)
class Shown:
    """One answer of a suite, for the report."""

    question: str
    reference: str
    answer: str


class Suite(Protocol):
    """One suite of a recipe."""

    @property
    def name(self) -> str:
        """Of the suite, and of its first metric."""

    @property
    def regression_max(self) -> float | None:
        """Bound on the first metric; None: measured only."""

    @property
    def metrics(self) -> Sequence[MetricName]:
        """The first one is bounded."""

    @property
    def asked(self) -> Sequence[str]:
        """What is asked beside the settings of the recipe, such as ids of training pairs with their answers' hash."""

    def check(self) -> None:
        """Whether it can be run here, before anything is asked.

        Raises:
            EvaluationFailed: with what is missing.
        """

    def ask(self, file: SuiteFile, tell: Tell) -> Outcome:
        """Ask a file.

        Raises:
            EngineError, EvaluationFailed: it cannot be run.
        """

    def figures(self, outcome: Outcome) -> Mapping[str, Sequence[float]]:
        """By metric, one figure a case, in the same order for every file; a metric may be left out for all."""

    def shown(self, outcome: Outcome) -> Sequence[Shown]:
        """The first answers of a fixed order, good or bad."""


def mean_metric(name: str, unit: str = "share", *, higher_is_better: bool = True) -> MetricName:
    """A metric that is a mean over cases."""
    return MetricName(name, unit, higher_is_better=higher_is_better)
