"""Arrays behind a database, and vectors in clusters."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jeeves_shared.search.arrays import append_arrays, map_arrays
from jeeves_shared.search.errors import IndexUnusable
from jeeves_shared.search.inverted import Inverted
from jeeves_shared.search.lexical import Posting
from jeeves_shared.search.schema import K1, rarity
from jeeves_shared.search.vectors import DENSE_MAX, SectionVectors, top, vector_arrays

ARRAYS = {
    "a": np.arange(7, dtype="<u4"),
    "empty": np.zeros((0, 3), dtype="<f2"),
    "b": np.arange(12, dtype="<f4").reshape(4, 3),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "both.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [("row" * 50,)] * 500)
    database.close()
    append_arrays(path, ARRAYS)
    return path


def test_the_file_is_a_whole_database_and_gives_its_arrays_back(path: Path) -> None:
    mapped = map_arrays(path)
    assert mapped.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert mapped[name].dtype == array.dtype
        np.testing.assert_array_equal(mapped[name], array)
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    assert database.execute("SELECT count(*) FROM t").fetchone() == (500,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_mapped_arrays_cannot_be_changed(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        map_arrays(path)["a"][0] = 1


@pytest.mark.parametrize("cut", [1, 8, 40, 200])
def test_a_cut_file_is_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(IndexUnusable):
        map_arrays(path)


def test_a_damaged_directory_is_refused(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-20] + b"\xff" * 4 + content[-16:])
    with pytest.raises(IndexUnusable):
        map_arrays(path)


def topical(count: int, topics: int = 40) -> np.ndarray:
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((topics, 32))
    drawn = centres[generator.integers(0, topics, count)] + 0.5 * generator.standard_normal((count, 32))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f2")


def test_clusters_find_what_comparing_all_finds_and_cosines_are_the_same() -> None:
    vectors = topical(DENSE_MAX + 1)
    arrays = vector_arrays(vectors)
    assert "centres" in arrays
    clustered, dense = SectionVectors(arrays), SectionVectors({"vectors": vectors})
    found, recalls = 0, []
    for row in range(0, DENSE_MAX, 1000):
        question = vectors[row].astype(np.float32)
        near, exact = clustered.nearest(question, 20), dense.nearest(question, 20)
        found += int(row in near)
        recalls.append(len(np.intersect1d(near, exact)) / 20)
        np.testing.assert_allclose(clustered.similarity(question, exact), dense.similarity(question, exact), atol=1e-5)
    assert found == 20
    assert np.mean(recalls) > 0.7


def test_the_same_vectors_give_the_same_clusters() -> None:
    vectors = topical(DENSE_MAX + 1)
    first, second = vector_arrays(vectors), vector_arrays(vectors)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.integers(1, 20))
def test_top_gives_the_highest_above_zero(values: list[float], count: int) -> None:
    scores = np.array(values, dtype=np.float32)
    chosen = scores[top(scores, count)]
    expected = sorted((value for value in values if value > 0), reverse=True)[:count]
    assert sorted(chosen.tolist(), reverse=True) == expected


@given(st.sets(st.integers(0, 50)), st.lists(st.integers(0, 50), max_size=20))
def test_a_posting_is_looked_up_where_it_is_and_nowhere_else(holding: set[int], asked: list[int]) -> None:
    ordered = sorted(holding)
    posting = Posting(
        1.0, np.array(ordered, dtype=np.uint32), np.array([place + 1 for place in ordered], dtype=np.float16)
    )
    positions = np.array(asked, dtype=np.intp)
    assert posting.holds(positions).tolist() == [place in holding for place in asked]
    assert posting.at(positions).tolist() == [place + 1 if place in holding else 0 for place in asked]


def test_contributions_are_bm25_and_parts_of_a_text_add_up() -> None:
    inverted = Inverted(3)
    inverted.add(0, [["pod"], ["pod", "node"]], (3.0, 1.0))
    inverted.add(0, [[], ["pod"]], (3.0, 1.0))
    inverted.add(2, [["ignored"], ["node"]], (0.0, 1.0))
    postings = inverted.postings(b=0.0)
    assert list(postings.places) == ["node", "pod"]
    count, start = postings.places["pod"]
    assert (count, postings.positions[start]) == (1, 0)
    frequency = 3 + 1 + 1
    assert postings.contributions[start] == pytest.approx(
        rarity(1, 3) * frequency * (K1 + 1) / (frequency + K1), rel=1e-3
    )
    assert postings.positions[slice(*np.cumsum((postings.places["node"][1], 2)))].tolist() == [0, 2]
