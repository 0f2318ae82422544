"""The letters that a file chooses, by log-likelihood."""

from collections.abc import Callable

from jeeves_shared.contracts.exams import CHOICES, Exam
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.exam_prompts import choice_texts, exam_prompt
from jeeves_trainer.libllama import Scorer

CONTEXT_TOKENS = 2048


def choose_letters(scorer: Scorer, exam: Exam, shots: int, tell: Callable[[float], None]) -> list[str]:
    """The most likely letter after each question.

    Args:
        scorer: of the file.
        exam: whose questions are asked in order; what they begin with in common is computed once.
        shots: examples before each.
        tell: told the share that is done; may raise to stop.

    Raises:
        EvaluationFailed: a letter is more than one token in this vocabulary, or a question is too long.
    """
    tokens = [scorer.vocabulary.tokenize(text) for text in choice_texts(exam)]
    if any(len(ids) != 1 for ids in tokens):
        raise EvaluationFailed("This model's vocabulary cuts the letters of the choices: it cannot take the exam.")
    choices = [ids[0] for ids in tokens]
    letters: list[str] = []
    for number, question in enumerate(exam.questions):
        tell(number / len(exam.questions))
        scores = scorer.choice_log_probabilities(
            scorer.vocabulary.tokenize(exam_prompt(exam, question, shots)), choices
        )
        letters.append(CHOICES[int(scores.argmax())])
    return letters
