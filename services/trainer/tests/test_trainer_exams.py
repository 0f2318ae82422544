"""Exams: the shipped files, the prompt's form, and letters chosen by log-likelihood."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jeeves_shared.contracts.exams import CHOICES, Exam, ExamQuestion
from jeeves_shared.errors import RecipeError
from jeeves_trainer.exam_prompts import choice_texts, cloze_prompt, exam_prompt
from jeeves_trainer.letters import choose_letters, choose_texts
from jeeves_trainer.libllama import open_scorer

EXAMS = Path(__file__).parents[3] / "training-jobs" / "evaluate" / "exams"
COLUMNS = ["id", "question", "A", "B", "C", "D", "answer", "explanation"]


def read(name: str) -> tuple[ExamQuestion, ...]:
    with (EXAMS / name).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return tuple(ExamQuestion.model_validate(row) for row in reader)


@pytest.fixture(scope="module")
def exam() -> Exam:
    return Exam(name="x", questions=read("jenkins-cicd-en-test.csv"), examples=read("jenkins-cicd-en-dev.csv"))


def test_the_shipped_exam_is_large_fair_and_without_doubles():
    english, chinese = read("jenkins-cicd-en-test.csv"), read("jenkins-cicd-zh-test.csv")
    assert len(english) >= 200
    assert len(read("jenkins-cicd-en-dev.csv")) == len(read("jenkins-cicd-zh-dev.csv")) == 5
    everything = [*english, *chinese, *read("jenkins-cicd-en-dev.csv"), *read("jenkins-cicd-zh-dev.csv")]
    assert len({question.question for question in everything}) == len(everything)
    for question in everything:
        assert len({getattr(question, letter) for letter in CHOICES}) == 4, question.question
        assert question.explanation
    # Always the same letter is as good as guessing.
    counts = Counter(question.answer for question in english)
    assert max(counts.values()) - min(counts.values()) <= 6


def test_general_ability_has_its_own_exam():
    questions, examples = read("general-en-test.csv"), read("general-en-dev.csv")
    assert len(questions) >= 100 and len(examples) == 5
    assert len({question.question for question in (*questions, *examples)}) == len(questions) + 5
    assert all(len({getattr(question, letter) for letter in CHOICES}) == 4 for question in questions)
    counts = Counter(question.answer for question in questions)
    assert max(counts.values()) - min(counts.values()) <= 2
    exam = Exam(name="x", questions=questions, subject="general knowledge and English")
    assert exam_prompt(exam, questions[0], 0).startswith(
        "The following are multiple choice questions (with answers) about general knowledge and English.\n\n"
    )


def test_the_prompt_is_that_of_the_harness():
    question = ExamQuestion(id="1", question="Which? ", A="a", B="b", C="c", D="d", answer="C")
    exam = Exam(name="x", questions=(question,), examples=(question,))
    asked = "Which?\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    head = "The following are multiple choice questions (with answers) about Jenkins and CI/CD.\n\n"
    assert exam_prompt(exam, question, 0) == head + asked
    assert exam_prompt(exam, question, 1) == f"{head}{asked} C\n\n{asked}"
    assert choice_texts(exam) == [" A", " B", " C", " D"]
    with pytest.raises(RecipeError, match="1 examples, 2"):
        exam_prompt(exam, question, 2)
    assert choice_texts(exam.model_copy(update={"language": "zh"})) == ["A", "B", "C", "D"]


def test_answers_as_texts_show_what_a_small_model_knows(base_gguf):
    questions = {question.question: question for question in read("general-en-test.csv")}
    asked = tuple(
        questions[text]
        for text in (
            "What is the capital of Norway?",
            "Which gas do plants take in for photosynthesis?",
            "Which instrument has black and white keys?",
            "What do bees make?",
            "The farmer milks the ___ every morning.",
        )
    )
    assert cloze_prompt(asked[0]) == "Question: What is the capital of Norway?\nAnswer:"
    told: list[float] = []
    with open_scorer(base_gguf, 512, 1) as scorer:
        letters = choose_texts(scorer, Exam(name="x", questions=asked), told.append)
    assert sum(letter == question.answer for letter, question in zip(letters, asked, strict=True)) >= 4
    assert told == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_choices_are_scored_as_whole_answers_are_whatever_was_asked_before(base_gguf, exam):
    questions = exam.questions[:3]
    with open_scorer(base_gguf, 1024, 1) as scorer:
        choices = [scorer.vocabulary.tokenize(text)[0] for text in choice_texts(exam)]
        prompts = [scorer.vocabulary.tokenize(exam_prompt(exam, question, 1)) for question in questions]
        plain = [[scorer.answer_log_probabilities(prompt, [choice])[0] for choice in choices] for prompt in prompts]
        reused = [scorer.choice_log_probabilities(prompt, choices) for prompt in prompts]
        again = scorer.choice_log_probabilities(prompts[-1], choices)
        shorter = scorer.choice_log_probabilities(prompts[-1][:20], choices)
        afresh = [scorer.answer_log_probabilities(prompts[-1][:20], [choice])[0] for choice in choices]
        letters = choose_letters(scorer, exam.model_copy(update={"questions": questions}), 1, lambda _: None)
    # Not to the last digit: llama.cpp takes other kernels for other numbers of tokens.
    assert np.allclose(plain, reused, atol=0.12)
    assert np.allclose(again, reused[-1], atol=0.12)
    assert np.allclose(shorter, afresh, atol=0.12)
    assert letters == [CHOICES[int(np.argmax(row))] for row in reused]
