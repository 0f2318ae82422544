"""A search in a collection so large that vectors are clustered and common terms count for the best sections only."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search import SearchIndex, Section, build_index
from jeeves_shared.search.arrays import map_arrays
from jeeves_shared.search.lexical import Lexicon
from jeeves_shared.search.vectors import DENSE_MAX

WORDS = [
    "agent",
    "label",
    "queue",
    "build",
    "stage",
    "branch",
    "folder",
    "plugin",
    "node",
    "tool",
    "script",
    "view",
    "user",
    "role",
    "token",
    "crumb",
]


def section(number: int) -> Section:
    page, words = number // 5, [WORDS[(number * 7 + step * step) % len(WORDS)] for step in range(6)]
    return Section(
        Passage(
            section_id=f"s{number}",
            source_path=f"src/page{page}.md",
            url="",
            title=f"Page {page}",
            section=f"Part {number % 5}",
            text=f"Jenkins {' '.join(words)} item{number}",
            licence="",
        ),
        (f"Page {page}", f"Part {number % 5}"),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "index.sqlite"
    build_index([section(number) for number in range(DENSE_MAX + 5)], path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 4_321, DENSE_MAX + 4])
def test_a_rare_word_is_found_among_many(path: Path, number: int) -> None:
    index = SearchIndex.open(path)
    hit = index.search(f"which Jenkins agent has item{number}", 3)[0]
    assert hit.passage.section_id == f"s{number}"
    assert hit.coverage > 0.8
    assert [hit.passage.source_path for hit in index.search("jenkins agent queue", 5, 1)] == list(
        dict.fromkeys(hit.passage.source_path for hit in index.search("jenkins agent queue", 5, 1))
    )
    index.close()


@pytest.mark.slow
def test_common_terms_are_left_to_the_best_sections(path: Path) -> None:
    arrays = map_arrays(path)
    exact, cut = Lexicon(arrays, DENSE_MAX + 5), Lexicon(arrays, DENSE_MAX + 5, postings_max=10_000)
    database = sqlite3.connect(path)
    question = exact.ask(database, "item77 token crumb of jenkins")
    database.close()
    every, fewer = exact.section_scores(question), cut.section_scores(question)
    assert np.argmax(fewer) == np.argmax(every) == 77
    assert fewer[77] == pytest.approx(every[77], rel=1e-5)
    assert np.all(fewer <= every + 1e-4)
    assert np.count_nonzero(fewer) < np.count_nonzero(every)
