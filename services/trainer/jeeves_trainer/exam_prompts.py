"""Exam questions as text, in the form of lm-evaluation-harness' MMLU task, so that scores compare.

Source: lm-evaluation-harness 0.4.13, tasks/mmlu/default/_default_template_yaml and tasks/cmmlu/_default_template_yaml,
compared with its files. One difference: the harness puts a blank before the letter in Chinese, too.
"""

from collections.abc import Sequence

from jeeves_shared.contracts.exams import CHOICES, Exam, ExamQuestion
from jeeves_shared.errors import RecipeError

_HEAD = {
    "en": "The following are multiple choice questions (with answers) about {subject}.\n\n",
    "zh": "以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\n\n",
}
_SUBJECT = {"en": "Jenkins and CI/CD", "zh": "Jenkins与持续集成"}
_ANSWER = {"en": "Answer:", "zh": "答案："}
_GAP = {"en": " ", "zh": ""}


def exam_prompt(exam: Exam, question: ExamQuestion, shots: int) -> str:
    """A question after some worked examples; ends where the letter of the answer begins.

    Args:
        exam: has the examples.
        question: to be answered.
        shots: examples to show.

    Raises:
        RecipeError: the exam has fewer examples.
    """
    if shots > len(exam.examples):
        raise RecipeError(f"{exam.name} has {len(exam.examples)} examples, {shots} are asked for: give a dev file.")
    shown = [_asked(example, exam) + choice_text(exam, example.answer) + "\n\n" for example in exam.examples[:shots]]
    head = _HEAD[exam.language].format(subject=exam.subject or _SUBJECT[exam.language])
    return head + "".join(shown) + _asked(question, exam)


def choice_text(exam: Exam, letter: str) -> str:
    """What follows `Answer:`."""
    return _GAP[exam.language] + letter


def choice_texts(exam: Exam) -> Sequence[str]:
    """The four possible continuations."""
    return [choice_text(exam, letter) for letter in CHOICES]


def cloze_prompt(question: ExamQuestion) -> str:
    """A question without its choices; ends where the text of the answer begins."""
    return f"Question: {question.question.strip()}\nAnswer:"


def cloze_text(question: ExamQuestion, letter: str) -> str:
    """What follows `cloze_prompt`."""
    return " " + str(getattr(question, letter)).strip()


def _asked(question: ExamQuestion, exam: Exam) -> str:
    options = "\n".join(f"{letter}. {getattr(question, letter).strip()}" for letter in CHOICES)
    return f"{question.question.strip()}\n{options}\n{_ANSWER[exam.language]}"
