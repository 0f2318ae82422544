"""Multiple-choice exams, in the file format of CMMLU, C-Eval and DevOps-Eval."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.manifests import ModelManifest

Choice = Literal["A", "B", "C", "D"]
CHOICES: tuple[Choice, ...] = ("A", "B", "C", "D")


class ExamQuestion(Contract):
    """One question. Written by people; read by the trainer."""

    id: str
    question: str = Field(min_length=1)
    A: str = Field(min_length=1)
    B: str = Field(min_length=1)
    C: str = Field(min_length=1)
    D: str = Field(min_length=1)
    answer: Choice
    explanation: str = ""


class Exam(Contract):
    """Questions, and worked examples to put before them. Written by the command line; read by the trainer."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    language: Literal["en", "zh"] = "en"
    questions: tuple[ExamQuestion, ...] = Field(min_length=1, max_length=20000)
    examples: tuple[ExamQuestion, ...] = ()


class ExamRequest(Contract):
    """`POST /v1/exams` of the trainer; result: `ExamReport`."""

    exam: Exam
    model: ModelManifest
    quantization: str
    shots: tuple[int, ...] = Field(default=(0, 5), min_length=1, description="Examples before each question.")
    seed: int = 17
    resamples: int = Field(default=2000, ge=200)
