"""The letters that a file chooses, by the log-likelihood of the letter or of what stands behind it."""

from collections.abc import Callable

from jeeves_shared.contracts.exams import CHOICES, Exam
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.exam_prompts import choice_texts, cloze_prompt, cloze_text, exam_prompt
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


def choose_texts(scorer: Scorer, exam: Exam, tell: Callable[[float], None]) -> list[str]:
    """The letters of the answers that are most likely as texts, per byte; no choices are shown.

    What a small model can do: it knows the capital of Norway before it can name the letter beside it.

    Args:
        scorer: of the file.
        exam: whose questions are asked in order.
        tell: told the share that is done; may raise to stop.

    Raises:
        EvaluationFailed: a question is too long.

    Source: lm-evaluation-harness 0.4, tasks/arc/arc_easy.yaml: form of the question, and `acc_norm`, which divides by
        the length in characters there and in bytes here, so that Chinese counts as it is tokenized.
    """
    letters: list[str] = []
    for number, question in enumerate(exam.questions):
        tell(number / len(exam.questions))
        prompt = scorer.vocabulary.tokenize(cloze_prompt(question))
        scores = []
        for letter in CHOICES:
            text = cloze_text(question, letter)
            likelihood = scorer.answer_log_probabilities(prompt, scorer.vocabulary.tokenize(text)).sum()
            scores.append(float(likelihood) / len(text.encode()))
        letters.append(CHOICES[scores.index(max(scores))])
    return letters
