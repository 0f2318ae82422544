"""An exam as a suite: the answer by log-likelihood, of its letter or of its text."""

from collections.abc import Mapping, Sequence

from jeeves_shared.contracts.evaluation_suites import ExamSuite
from jeeves_shared.measures.bootstrap import MetricName
from jeeves_trainer.letters import CONTEXT_TOKENS, choose_letters, choose_texts
from jeeves_trainer.libllama import open_scorer
from jeeves_trainer.settings import job_threads
from jeeves_trainer.suites.base import Outcome, Shown, SuiteFile, Tell, mean_metric


class MultipleChoice:
    """Share of questions whose right answer is the most likely one.

    Args:
        settings: of the recipe.
    """

    def __init__(self, settings: ExamSuite) -> None:
        self._settings = settings
        self.name = settings.name
        self.regression_max = settings.regression_max
        self.asked: Sequence[str] = ()
        self.metrics: Sequence[MetricName] = (mean_metric(settings.name),)

    def check(self) -> None:
        """An exam needs nothing."""

    def ask(self, file: SuiteFile, tell: Tell) -> Outcome:
        """The letters."""
        with open_scorer(file.gguf, CONTEXT_TOKENS, job_threads()) as scorer:
            if self._settings.scoring == "text":
                return {"letters": choose_texts(scorer, self._settings.exam, tell)}
            return {"letters": choose_letters(scorer, self._settings.exam, self._settings.shots, tell)}

    def figures(self, outcome: Outcome) -> Mapping[str, Sequence[float]]:
        """1 for a right letter."""
        questions = self._settings.exam.questions
        right = zip(outcome["letters"], questions, strict=True)
        return {self.name: [float(letter == question.answer) for letter, question in right]}

    def shown(self, outcome: Outcome) -> Sequence[Shown]:
        """Letters say nothing to a reader."""
        return ()
