"""How well pages of the Jenkins handbook are found: `python tests/bench/search_quality.py [--corpora FOLDER]`.

Collects docs.jenkins.io with the real collector, splits and indexes it with the real curator, and asks five sets; all
but the first are in `search_questions.jsonl`, written for this bench with their pages:

    pairs      the JenAI development pairs, without those that lean on unseen context
    questions  in other words than the pages'
    style      as a person asks who has read the page: how-to, concept, error, syntax
    held-out   the same from other sections; no weight, bound or choice was made by them
    developer  of those who write plugins

A hit is a hit on the question's page, one on another page with the same text counts as well. Intervals: bootstrap over
questions, 95 %. Beside the shipped ranking, the same candidates without one of its figures each.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jeeves_collector.layout import CollectorLayout
from jeeves_collector.settings import CollectorSettings
from jeeves_collector.sources.protocol import Page, Past
from jeeves_collector.sources.trees import TreeFiles
from jeeves_collector.state import open_state
from jeeves_collector.workplace import Workplace
from jeeves_curator.sections import split_document
from jeeves_curator.sentence_model import sentence_model
from jeeves_curator.steps import ContextBound, Drop
from jeeves_shared.contracts.documents import Document, Pair
from jeeves_shared.contracts.recipes import TreeSource
from jeeves_shared.search import Hit, SearchIndex, Section, build_index
from jeeves_shared.search import reader as ranking
from jeeves_shared.settings import load_settings

QUESTIONS = Path(__file__).with_name("search_questions.jsonl")
CORPORA = Path(os.environ.get("JEEVES_CORPORA") or Path(__file__).resolve().parents[3] / "shared" / "corpora")
DEPTH = 20
GROUPS = ("pairs", "questions", "style", "held-out", "developer")
FIGURES = {
    "similarity": ranking.WEIGHT_SIMILARITY,
    "sentence": ranking.WEIGHT_SENTENCE,
    "lexical": ranking.WEIGHT_LEXICAL,
    "page": ranking.WEIGHT_PAGE,
    "coverage": ranking.WEIGHT_COVERAGE,
    "heading": ranking.WEIGHT_HEADING,
    "prior": ranking.WEIGHT_PRIOR,
}


@dataclass(frozen=True)
class Asked:
    """A question and the pages that answer it."""

    group: str
    question: str
    pages: frozenset[str]


def collect(folder: Path, work: Path, characters_max: int, characters_min: int) -> list[Section]:
    source = TreeSource(name=folder.name, location=str(folder))
    with open_state(work / "state.sqlite") as state:
        workplace = Workplace(
            CollectorLayout(work),
            load_settings(CollectorSettings, data_dir=work),
            state,
            datetime.now(UTC),
            wait=time.sleep,
            report=lambda *_: None,
        )
        read = TreeFiles(source, workplace).pages(Past(None, {}, lambda _: None, lambda *_: ()))
        pages = [page for page in read if isinstance(page, Page)]
    documents = [content for page in pages for item in page.items for content in item.content]
    found = sorted((item for item in documents if isinstance(item, Document)), key=lambda item: item.source_path)
    return [section for document in found for section in split_document(document, characters_max, characters_min)]


def questions(corpora: Path, sections: list[Section]) -> list[Asked]:
    """Both sets, with all pages that hold (nearly) the same text as the named one."""
    texts: dict[str, set[str]] = {}
    for section in sections:
        texts.setdefault(section.passage.source_path, set()).add(section.passage.text)

    def same(page: str) -> set[str]:
        own = texts[page]
        return {other for other, theirs in texts.items() if len(own & theirs) >= 0.8 * len(own)}

    asked = []
    with (corpora / "jenai" / "derived_dev_split.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pair = Pair(
                id=row["id"], kind="concept", question=row["question"], answer="x", source_path=row["source_path"]
            )
            if pair.source_path in texts and not isinstance(ContextBound().review(pair), Drop):
                asked.append(Asked("pairs", row["question"], frozenset(same(pair.source_path))))
    for line in QUESTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        group = row.get("set") or ("developer" if row["kind"] == "developer" else "questions")
        pages = {page for named in (row["source_path"], *row["also"]) if named in texts for page in same(named)}
        asked.append(Asked(group, row["question"], frozenset(pages)))
    return asked


def rank(pages: list[str], right: frozenset[str]) -> float:
    """1 for the first; infinite when it is not there."""
    return next((float(number) for number, page in enumerate(dict.fromkeys(pages), start=1) if page in right), np.inf)


def figures(name: str, asked: list[Asked], ranks: list[float]) -> None:
    generator = np.random.default_rng(17)
    for group in GROUPS:
        of_group = np.array([value for item, value in zip(asked, ranks, strict=True) if item.group == group])
        drawn = of_group[generator.integers(0, len(of_group), (2000, len(of_group)))]
        print(
            f"{name:<22} {group:<10} {len(of_group):>4}  hit@1 {_interval(of_group, drawn, lambda r: r <= 1)}  "
            f"hit@5 {_interval(of_group, drawn, lambda r: r <= 5)}  MRR {_interval(of_group, drawn, lambda r: 1 / r)}"
        )


def _interval(
    ranks: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.float64],
    measure: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.generic]],
) -> str:
    low, high = np.percentile(measure(drawn).mean(axis=1), [2.5, 97.5])
    return f"{measure(ranks).mean():.3f} ({low:.3f}-{high:.3f})"


def without(hits: list[Hit], figure: str, lexical_highest: float) -> list[str]:
    """Pages by the shipped score without one of its figures."""

    def score(hit: Hit) -> float:
        values = {
            "similarity": max(0.0, hit.similarity),
            "sentence": hit.sentence,
            "lexical": hit.lexical / lexical_highest,
            "page": hit.page,
            "coverage": hit.coverage,
            "heading": hit.heading,
            "prior": hit.prior,
        }
        return sum(weight * values[name] for name, weight in FIGURES.items() if name != figure)

    return [hit.passage.source_path for hit in sorted(hits, key=score, reverse=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=CORPORA)
    parser.add_argument("--section-characters", type=int, nargs=2, default=[900, 40], metavar=("MAX", "MIN"))
    arguments = parser.parse_args()
    if not arguments.corpora.is_dir():
        print(f"no Jenkins material at {arguments.corpora} (JEEVES_CORPORA): search quality is not measured")
        return
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        sections = collect(arguments.corpora / "docs.jenkins.io", Path(folder), *arguments.section_characters)
        path = Path(folder) / "index.sqlite"
        started = time.process_time()
        build_index(sections, path, sentence_model=sentence_model())
        print(
            f"{len(sections)} sections indexed in {time.process_time() - started:.1f} s of processor time, "
            f"{path.stat().st_size / 2**20:.0f} MiB"
        )
        asked = questions(arguments.corpora, sections)
        index = SearchIndex.open(path)
        found, seconds = [], []
        for item in asked:
            begun = time.process_time()
            index.search(item.question, DEPTH, per_page=1)
            seconds.append(time.process_time() - begun)
            found.append(index.search(item.question, ranking.CANDIDATES))
        pages = [[hit.passage.source_path for hit in index.search(item.question, DEPTH, 1)] for item in asked]
        p50, p95 = np.percentile(seconds, [50, 95]) * 1000
        print(f"a search: {p50:.1f} ms of processor time (median), {p95:.1f} ms (95 of 100)\n")
        figures("shipped", asked, [rank(each, item.pages) for each, item in zip(pages, asked, strict=True)])
        for figure in FIGURES:
            ranks = [
                rank(without(hits, figure, max((hit.lexical for hit in hits), default=1.0) or 1.0), item.pages)
                for hits, item in zip(found, asked, strict=True)
            ]
            figures(f"without {figure}", asked, ranks)
        index.close()


if __name__ == "__main__":
    main()
