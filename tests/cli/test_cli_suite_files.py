"""Evaluation recipes whose suites name files."""

import json
from pathlib import Path

import pytest

from jeeves_cli.exits import CommandError
from jeeves_cli.recipes import load_recipe
from jeeves_cli.suite_files import only_suites
from jeeves_cli.suites.cases import read_suites
from jeeves_shared.contracts.evaluation_suites import ExamSuite, SafetySuite
from jeeves_shared.contracts.recipes import EvaluateRecipe

SHIPPED = Path(__file__).parents[2] / "training-jobs" / "evaluate"
EXAM = "id,question,A,B,C,D,answer,explanation\n0,Q?,a,b,c,d,B,why\n"
CASE = {"id": "1", "category": "injection", "prompt": "p", "must": [], "must_not": ["x"]}


def test_files_are_read_from_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "e-test.csv").write_text(EXAM)
    (tmp_path / "e-dev.csv").write_text(EXAM)
    (tmp_path / "cases.jsonl").write_text(f"{json.dumps(CASE)}\n\n")
    recipe = tmp_path / "recipe.yaml"
    exam = {"type": "exam", "name": "general", "file": "e-test.csv", "subject": "the world", "language": "zh"}
    recipe.write_text(json.dumps({"name": "x", "suites": [exam, {"type": "safety", "file": "cases.jsonl"}]}))
    loaded = load_recipe(EvaluateRecipe, recipe)
    first, second = loaded.suites
    assert isinstance(first, ExamSuite) and isinstance(second, SafetySuite)
    assert (first.exam.language, first.exam.subject, len(first.exam.examples)) == ("zh", "the world", 1)
    assert second.cases[0].prompt == "p"
    # What the trainer gets over HTTP is the same.
    assert EvaluateRecipe.model_validate_json(loaded.model_dump_json()) == loaded


def test_shipped_safety_cases_are_also_a_suite_for_the_gateway() -> None:
    loaded = read_suites([SHIPPED / "cases" / "safety.jsonl"])
    assert {case.kind for case in loaded.cases} == {"abuse"} and len(loaded.cases) >= 36
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("suites", "words"),
    [
        ([{"type": "exam", "name": "x", "file": "missing.csv"}], "missing.csv cannot be read"),
        ([{"type": "safety", "file": "missing.jsonl"}], "missing.jsonl"),
        ([{"type": "safety", "file": "broken.jsonl"}], "line 2: no JSON"),
        ([{"type": "poetry"}], "suites"),
        ([{"type": "speed"}, {"type": "speed"}], "a name of its own"),
        ([{"type": "safety"}], "cases"),
        ("all", "suites"),
    ],
)
def test_mistakes_in_suites_of_a_recipe_are_named(tmp_path: Path, suites: object, words: str) -> None:
    (tmp_path / "broken.jsonl").write_text('{"id": "a"}\n{')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "x", "suites": suites}))
    with pytest.raises(CommandError, match=words):
        load_recipe(EvaluateRecipe, recipe)


def test_some_suites_of_a_recipe() -> None:
    full = load_recipe(EvaluateRecipe, SHIPPED / "full.yaml")
    assert only_suites(full, "") == full
    assert [suite.name for suite in only_suites(full, "speed, safety,speed").suites] == ["speed", "safety"]
    with pytest.raises(CommandError, match=r"no exams in the recipe full; it has general, memorization"):
        only_suites(full, "safety,exams")
