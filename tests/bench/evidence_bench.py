"""Which questions the gateway takes the sources to answer, and the regression behind `jeeves_gateway.evidence`.

`python tests/bench/evidence_bench.py INDEX…` prints, for each index, the share of questions that pass at some bounds:
those of the starter pack, the JenAI development pairs and the search bench's questions (asked of a handbook's index),
and what no documentation of Jenkins answers (`off_topic_questions.jsonl`, `scope_questions.jsonl`, the starter pack's
refusals). With all indexes together it fits the weights anew; groups marked `unseen` are left out of the fit. An index
is the file `index.sqlite` of a store.
"""

import argparse
import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jeeves_gateway.evidence import evidence, proper_names
from jeeves_gateway.other_products import is_about_other_product
from jeeves_gateway.retrieval import HITS, Retrieved
from jeeves_gateway.scope import outside
from jeeves_shared.contracts.prompts import PASSAGES_IN_PROMPT
from jeeves_shared.search import SearchIndex

ROOT = Path(__file__).resolve().parents[2]
STARTER_PACK = ROOT / "training-jobs" / "starter-pack"
HARD_CASES = ROOT / "services" / "gateway" / "tests" / "out_of_scope_cases.jsonl"
CORPORA = Path(os.environ.get("JEEVES_CORPORA") or ROOT.parent / "shared" / "corpora")
BOUNDS = (0.3, 0.35, 0.4, 0.5, 0.7, 0.75)
HANDBOOK_SECTIONS_MIN = 2000
FIGURES = ("coverage", "similarity", "domain", "strangeness", "missing name", "other product", "sentence")
ANSWERABLE = ("starter pack", "development pairs", "search bench")
OFF_TOPIC = ("everyday", "unrelated", "other-product", "nonexistent", "not-in-jenkins")


def questions(sections: int) -> dict[str, list[str]]:
    """By group; the development pairs only where the index is of the handbook's size."""
    found: dict[str, list[str]] = {"starter pack": []}
    for path in sorted((STARTER_PACK / "pairs").glob("*.jsonl")):
        found["starter pack"] += [row["question"] for row in _rows(path)]
    pairs = CORPORA / "jenai" / "derived_dev_split.csv"
    if sections >= HANDBOOK_SECTIONS_MIN and pairs.is_file():
        with pairs.open(encoding="utf-8", newline="") as file:
            found["development pairs"] = [row["question"] for row in csv.DictReader(file)]
        asked = [row["question"] for row in _rows(Path(__file__).with_name("search_questions.jsonl"))]
        found |= {"search bench": asked[::2], "unseen: search bench": asked[1::2]}
    here = Path(__file__).parent
    files = (here / "off_topic_questions.jsonl", here / "scope_questions.jsonl", STARTER_PACK / "refusals.jsonl")
    for path in (*files, HARD_CASES):
        for row in _rows(path):
            mark = "hard: " if path == HARD_CASES else "unseen: " if row.get("unseen") else ""
            found.setdefault(mark + row["category"], []).append(row["question"])
    return found


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def retrieved(index: SearchIndex, question: str) -> Retrieved:
    found, unknown = tuple(index.search(question, HITS)), tuple(index.unknown_identifiers(question))
    return Retrieved("", 0, index.sections, found, unknown, index.topicality(question))


def figures(question: str, one: Retrieved) -> list[float]:
    top = one.found[:PASSAGES_IN_PROMPT]
    text = " ".join(f"{hit.passage.title} {hit.passage.section} {hit.passage.text}" for hit in top).lower()
    return [
        max((hit.coverage for hit in top), default=0.0),
        max((hit.similarity for hit in top), default=0.0),
        one.topicality.domain,
        one.topicality.strangeness,
        float(any(name.lower() not in text for name in proper_names(question))),
        float(is_about_other_product(question)),
        max((hit.sentence for hit in top), default=0.0),
    ]


def fit(rows: npt.NDArray[np.float64], answerable: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Logistic regression by Newton's method: both classes weigh the same, L2 penalty 0.1, bias (last) free."""
    design = np.hstack([rows, np.ones((len(rows), 1))])
    balance = np.where(answerable == 1, 0.5 / answerable.mean(), 0.5 / (1 - answerable.mean()))
    penalty = np.diag([0.1] * rows.shape[1] + [0.0])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (balance * (chance - answerable)) + penalty @ weights
        curvature = design.T @ (design * (balance * chance * (1 - chance))[:, None]) + penalty
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("index", nargs="+", type=Path)
    rows: list[list[float]] = []
    labels: list[float] = []
    for path in parser.parse_args().index:
        index = SearchIndex.open(path)
        print(f"\n{path.name}, {index.sections} sections; share at or above {BOUNDS}, without unknown identifiers")
        for group, asked in questions(index.sections).items():
            found = [(question, retrieved(index, question)) for question in asked]
            known = [evidence(q, one) if one.found and not one.unknown and not outside(q) else 0.0 for q, one in found]
            shares = "  ".join(f"{np.mean([value >= bound for value in known]):6.1%}" for bound in BOUNDS)
            print(f"  {group:<24} n={len(asked):<4} {sum(bool(one.unknown) for _, one in found):>3} unknown  {shares}")
            if group in (*ANSWERABLE, *OFF_TOPIC):
                rows += [figures(question, one) for question, one in found]
                labels += [float(group in ANSWERABLE)] * len(found)
    weights = fit(np.array(rows), np.array(labels))
    print("\nfitted anew: " + ", ".join(f"{n} {w:+.2f}" for n, w in zip((*FIGURES, "bias"), weights, strict=True)))


if __name__ == "__main__":
    main()
