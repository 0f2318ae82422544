"""Search times and memory on synthetic indexes: `python tests/bench/search_bench.py [--sections 5000 1000000]`.

The files have the index's own format and are read by its own reader; only postings and vectors are drawn at random
(words by Zipf's law, vectors around topics), since building a million sections from text takes half an hour. A question
has six words, drawn as the texts' words are, so some are very common.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jeeves_curator.sentence_model import sentence_model
from jeeves_shared.search.arrays import append_arrays
from jeeves_shared.search.builder import SENTENCES_MAX
from jeeves_shared.search.embedding import DIMENSIONS, EMBEDDER, VOCABULARY
from jeeves_shared.search.reader import SearchIndex
from jeeves_shared.search.schema import DDL, PAGE_B, SCHEMA_VERSION, B, rarity, saturation
from jeeves_shared.search.sentences import SentenceModel
from jeeves_shared.search.vectors import vector_arrays

WORDS = 50_000
WORDS_PER_SECTION = 40
SECTIONS_PER_PAGE = 10
QUESTION_WORDS = 6
QUESTIONS = 200
TOPICS = 500
SENTENCE_DIMENSIONS = 384
PARTS = 2.5
"""Vectors of the sentence encoder by section; 2.45 on the Jenkins handbook."""


def draw_words(generator: np.random.Generator, size: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Numbers of words, by Zipf's law without the hundred commonest, which a question's stop words are."""
    weights = 1 / np.arange(100, 100 + WORDS)
    return np.searchsorted(np.cumsum(weights / weights.sum()), generator.random(size)).clip(0, WORDS - 1)


def postings(words: npt.NDArray[np.int64], texts: npt.NDArray[np.int64], count: int, b: float):
    """Positions, contributions and, by word, number and start."""
    keys = words * count + texts
    keys.sort()
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    frequencies = np.diff(first, append=len(keys)).astype(np.float32)
    word, text = keys[first] // count, keys[first] % count
    del keys, first
    numbers = np.bincount(word, minlength=WORDS)
    starts = np.concatenate(([0], np.cumsum(numbers)[:-1]))
    weights = np.array([rarity(int(number), count) for number in numbers])
    lengths = np.bincount(texts, minlength=count)
    shares = saturation(frequencies, (lengths / lengths.mean()).astype(np.float32)[text], b)
    return text.astype("<u4"), (weights[word] * shares).astype("<f2"), numbers, starts


def write_index(path: Path, sections: int) -> None:
    generator = np.random.default_rng(17)
    words = draw_words(generator, (sections, WORDS_PER_SECTION)).ravel()
    texts = np.repeat(np.arange(sections), WORDS_PER_SECTION)
    positions, contributions, numbers, starts = postings(words, texts, sections, B)
    pages = (np.arange(sections) // SECTIONS_PER_PAGE).astype("<u4")
    found = postings(words, pages[texts].astype(np.int64), int(pages[-1]) + 1, PAGE_B)
    del words, texts
    topics = generator.standard_normal((TOPICS, DIMENSIONS)).astype(np.float32)
    vectors = np.zeros((sections, DIMENSIONS), dtype="<f2")
    for start in range(0, sections, 20_000):
        count = min(20_000, sections - start)
        drawn = topics[generator.integers(0, TOPICS, count)]
        drawn = drawn + 0.7 * generator.standard_normal((count, DIMENSIONS)).astype(np.float32)
        vectors[start : start + count] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    model = sentence_model()
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(DDL)
        meta = {
            "embedder": EMBEDDER,
            "schema_version": str(SCHEMA_VERSION),
            "sections": str(sections),
            "sentence_model": model.name if model else "",
        }
        database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        database.executemany(
            "INSERT INTO terms VALUES (?, ?, ?, ?, ?)",
            (
                (f"w{word}", int(numbers[word]), int(starts[word]), int(found[2][word]), int(found[3][word]))
                for word in range(WORDS)
            ),
        )
        database.executemany(
            "INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    n + 1,
                    f"s{n}",
                    f"page{pages[n]}",
                    "",
                    "Page",
                    "Section",
                    '["Page"]',
                    "text " * 100,
                    "",
                    1.0,
                    n + 1,
                    f"w{n % WORDS}",
                    5.0,
                )
                for n in range(sections)
            ),
        )
    append_arrays(
        path,
        {
            "contributions": contributions,
            "page_contributions": found[1],
            "page_positions": found[0],
            "positions": positions,
            "section_pages": pages,
            "token_weights": np.ones(VOCABULARY, dtype=np.float32),
            **vector_arrays(vectors),
            **(sentence_arrays(generator, model, sections) if model else {}),
        },
    )


def sentence_arrays(generator: np.random.Generator, model: SentenceModel, sections: int):
    """The encoder, and vectors for as many sections as the builder would encode."""
    count = min(sections, SENTENCES_MAX)
    drawn = generator.standard_normal((int(PARTS * count), SENTENCE_DIMENSIONS))
    rows = np.full(sections, -1, dtype="<i4")
    rows[:count] = np.arange(count) * PARTS
    return {
        "sentence_graph": np.frombuffer(model.graph, dtype=np.uint8),
        "sentence_rows": rows,
        "sentence_tokenizer": np.frombuffer(model.tokenizer, dtype=np.uint8),
        "sentence_vectors": (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f2"),
    }


def search_times(path: Path) -> str:
    """Open and search in this process; one line of figures."""
    started = time.perf_counter()
    index = SearchIndex.open(path)
    opened = time.perf_counter() - started
    generator = np.random.default_rng(99)
    questions = [" ".join(f"w{n}" for n in row) for row in draw_words(generator, (QUESTIONS, QUESTION_WORDS))]
    for question in questions[:20]:
        index.search(question)
    seconds, cpu = [], []
    for question in questions:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        index.search(question)
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - begun_cpu)
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    cpu95 = np.percentile(cpu, 95) * 1000
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, resident = (int(status[name].split()[0]) / 1024 for name in ("RssAnon", "VmHWM"))
    return (
        f"{index.sections:>9} sections  p50 {p50:5.1f} ms  p95 {p95:5.1f} ms  (p95 of processor time {cpu95:5.1f} ms)  "
        f"open {opened * 1000:.0f} ms  file {path.stat().st_size / 2**20:.0f} MiB  "
        f"own memory {own:.0f} MiB  with the mapped pages {resident:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sections", type=int, nargs="+", default=[5_000, 1_000_000])
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(search_times(arguments.read))
        return
    print(f"{os.cpu_count()} processors; bounds: p95 ≤ 10 ms at 5,000 and ≤ 30 ms at 1,000,000")
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        for sections in arguments.sections:
            path = Path(folder) / f"{sections}.sqlite"
            write_index(path, sections)
            # A process of its own, so that the memory is the reader's.
            subprocess.run([sys.executable, __file__, "--read", str(path)], check=True)
            path.unlink()


if __name__ == "__main__":
    main()
