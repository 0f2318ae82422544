"""Every shipped recipe loads, and the starter pack keeps its promises."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jeeves_cli.recipes import load_recipe, with_absolute_locations
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.contracts.recipes import CollectRecipe, CurateRecipe, EvaluateRecipe, TrainRecipe

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "training-jobs"
PACK = JOBS / "starter-pack"
KINDS: dict[str, type[Contract]] = {
    "collect": CollectRecipe,
    "curate": CurateRecipe,
    "train": TrainRecipe,
    "evaluate": EvaluateRecipe,
}
RECIPES = sorted(JOBS.glob("*/*.yaml"))
HEADING = re.compile(r"(?:=+|#+)\s+(\S.*?)\s*$")
FENCE = re.compile(r"(?:```+|-{4,}|\.{4,})")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n+", re.DOTALL)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(JOBS)))
def test_recipe_loads(path: Path) -> None:
    recipe = load_recipe(KINDS[path.parent.name], path)
    assert recipe.model_dump()["name"]
    if isinstance(recipe, CollectRecipe):
        for source in with_absolute_locations(recipe, ROOT).sources:
            # What is ours has to be there; what is the user's (a download, an export) need not.
            location = getattr(source, "location", "")
            assert not location.startswith(str(JOBS)) or Path(location).exists(), location


def test_every_kind_of_recipe_is_shipped() -> None:
    assert {path.parent.name for path in RECIPES} >= set(KINDS)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    """Text by `source_path`, without the pieces that other documents include."""
    folder = PACK / "documents"
    files = [path for pattern in ("*.adoc", "*.md") for path in folder.rglob(pattern) if "_partials" not in path.parts]
    return {f"starter-pack/{path.relative_to(folder)}": path.read_text(encoding="utf-8") for path in files}


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    return [row for path in sorted((PACK / "pairs").glob("*.jsonl")) for row in rows(path)]


@pytest.fixture(scope="module")
def refusals() -> list[dict[str, Any]]:
    return rows(PACK / "refusals.jsonl")


def titles(text: str) -> set[str]:
    """Titles of document and sections; what stands in code is no heading."""
    found, closing = set(), None
    for line in FRONT_MATTER.sub("", text).splitlines():
        if closing is not None:
            closing = None if line.rstrip() == closing else closing
        elif fence := FENCE.match(line):
            closing = fence.group()
        elif heading := HEADING.match(line):
            found.add(heading.group(1))
    return found


def test_there_is_enough(documents: dict[str, str], pairs: list[dict[str, Any]]) -> None:
    assert len(documents) >= 60
    assert len(pairs) >= 250


def test_documents_have_a_title_sections_and_most_have_code(documents: dict[str, str]) -> None:
    assert [path for path, text in documents.items() if not re.match(r"[=#] \S", FRONT_MATTER.sub("", text))] == []
    assert [path for path, text in documents.items() if len(titles(text)) < 3] == []
    with_code = [path for path, text in documents.items() if "```" in text or "\n----" in text]
    assert len(with_code) >= 0.8 * len(documents)


def test_ids_are_unique(pairs: list[dict[str, Any]], refusals: list[dict[str, Any]]) -> None:
    ids = [row["id"] for row in [*pairs, *refusals]]
    assert sorted(identity for identity in set(ids) if ids.count(identity) > 1) == []


def test_questions_are_asked_once(pairs: list[dict[str, Any]], refusals: list[dict[str, Any]]) -> None:
    questions = [re.sub(r"\W+", " ", row["question"].lower()).strip() for row in [*pairs, *refusals]]
    assert sorted(question for question in set(questions) if questions.count(question) > 1) == []


def test_pairs_are_what_the_contract_says(pairs: list[dict[str, Any]]) -> None:
    for row in pairs:
        Pair.model_validate(row)
        assert row["key_terms"], row["id"]


def test_pairs_point_to_a_section_that_exists(documents: dict[str, str], pairs: list[dict[str, Any]]) -> None:
    wrong = []
    for row in pairs:
        text = documents.get(row["source_path"])
        if text is None:
            wrong.append(f"{row['id']}: no {row['source_path']}")
        elif row["section"] not in titles(text):
            wrong.append(f"{row['id']}: {row['source_path']} has no section {row['section']!r}")
    assert wrong == []


def test_key_terms_stand_in_the_answer(pairs: list[dict[str, Any]]) -> None:
    wrong = [
        f"{row['id']}: {term!r}"
        for row in pairs
        for term in row["key_terms"]
        if term.lower() not in row["answer"].lower()
    ]
    assert wrong == []


def test_every_topic_is_asked_about(documents: dict[str, str], pairs: list[dict[str, Any]]) -> None:
    asked = {row["source_path"].split("/")[1] for row in pairs}
    assert {path.split("/")[1] for path in documents} - asked == set()


def test_refusals_say_what_must_not_come(refusals: list[dict[str, Any]]) -> None:
    assert len(refusals) >= 16
    for row in refusals:
        assert row["question"].strip(), row["id"]
        assert row["category"], row["id"]
        assert row["must_not"], row["id"]
