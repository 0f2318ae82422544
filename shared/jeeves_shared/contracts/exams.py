"""Multiple-choice exams, in the file format of CMMLU, C-Eval and DevOps-Eval."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

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
    subject: str = Field(default="", max_length=80, description="What it is about; empty: Jenkins and CI/CD.")
    questions: tuple[ExamQuestion, ...] = Field(min_length=1, max_length=20000)
    examples: tuple[ExamQuestion, ...] = ()
