"""Questions and answers from JSON Lines and CSV."""

import json
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.contracts.prompts import REFUSAL
from jeeves_shared.errors import RecipeError, SourceUnusable

PAIR = {
    "id": "p-1",
    "kind": "syntax",
    "question": "Q?",
    "answer": "A.",
    "key_terms": ["A"],
    "source_path": "s/x.adoc",
    "section": "S",
}


def source(location: Path, name: str = "pairs") -> dict[str, Any]:
    return {"type": "pairs", "name": name, "location": str(location)}


def lines(*rows: Any) -> str:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def test_json_lines_with_refusals_and_broken_lines(collector: Any, write_tree: Any) -> None:
    root = write_tree(
        {
            "pairs/a.jsonl": lines(PAIR, {**PAIR, "id": "p-0", "question": "How do I?"}, "{broken", "[1]", ""),
            "pairs/b.jsonl": lines(
                PAIR, {"question": "How do I?", "answer": "So.", "source_path": ""}, {**PAIR, "x": 1}
            ),
            "pairs/refusals.jsonl": lines(
                {"id": "r-1", "category": "off-topic", "question": "Weather?", "must_not": ["sunny"]},
                {"id": "r-2", "category": "off-topic", "question": "Cake?", "must_not": "flour"},
                {"id": "r-3", "category": "off-topic", "question": " ", "must_not": []},
            ),
        }
    )
    manifest = collector.collect(source(root / "pairs"))
    pairs = collector.pairs(manifest)
    assert list(pairs) == ["p-0", "p-1", "pairs-b-2", "r-1", "r-2"]
    assert pairs["p-1"].model_dump(mode="json", include=set(PAIR)) == PAIR
    assert pairs["pairs-b-2"].kind == "how-to"
    assert pairs["r-1"].kind == "refusal"
    assert (pairs["r-1"].answer, pairs["r-1"].must_not, pairs["r-2"].must_not) == (REFUSAL, ("sunny",), ("flour",))
    assert manifest.pairs == 5
    assert manifest.documents == 0
    assert manifest.drops == {"pair-duplicate-id": 1, "pair-invalid": 4}


def test_csv(collector: Any, write_tree: Any) -> None:
    root = write_tree(
        {
            "p.csv": 'id,page_title,source_path,question,answer\nx-1,T,s/a.adoc,What?,"Two\nlines, ""quoted"""\n'
            ",T,s/a.adoc,How to?,Yes.\nx-3,T,s/a.adoc,,No question.\n"
        }
    )
    manifest = collector.collect(source(root / "p.csv", "csv"))
    pairs = collector.pairs(manifest)
    assert list(pairs) == ["csv-2", "x-1"]
    assert (pairs["x-1"].kind, pairs["x-1"].answer) == ("concept", 'Two\nlines, "quoted"')
    assert pairs["csv-2"].kind == "how-to"
    assert manifest.drops == {"pair-invalid": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,question\n1,2\n", "lacks the column.s. answer, source_path"),
        ("a.jsonl", "\n", "holds no usable pair"),
        ("a.jsonl", b"\x00", "not a text file"),
        ("a.txt", "x", "neither .jsonl nor .csv"),
    ],
)
def test_unusable_files(collector: Any, write_tree: Any, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(SourceUnusable, match=message):
        collector.collect(source(write_tree({name: content}) / name))


def test_unusable_places(collector: Any, write_tree: Any) -> None:
    root = write_tree({"a.txt": "x"})
    with pytest.raises(SourceUnusable, match="does not exist"):
        collector.collect(source(root / "gone"))
    with pytest.raises(SourceUnusable, match=r"holds no \.jsonl or \.csv"):
        collector.collect(source(root))


def test_two_sources_of_one_name_are_refused(collector: Any, write_tree: Any) -> None:
    root = write_tree({"a.jsonl": lines(PAIR)})
    with pytest.raises(RecipeError, match="pairs pairs"):
        collector.collect(source(root), source(root))
