"""Builds the index file: a SQLite database with arrays behind it, the same bytes for the same sections."""

import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jeeves_shared.artifacts import atomic_path
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.errors import SourceUnusable
from jeeves_shared.search.arrays import Array, append_arrays
from jeeves_shared.search.embedding import DIMENSIONS, EMBEDDER, VOCABULARY, load_embedder, token_weights
from jeeves_shared.search.inverted import Inverted
from jeeves_shared.search.schema import (
    COLUMN_WEIGHTS,
    DDL,
    PAGE_B,
    PAGE_COLUMN_WEIGHTS,
    SCHEMA_VERSION,
    B,
    rarity,
)
from jeeves_shared.search.sentences import SentenceEncoder, SentenceModel
from jeeves_shared.search.tokens import content_tokens, tokens
from jeeves_shared.search.vectors import vector_arrays

SENTENCES_MAX = 4_000
"""Sections that the sentence encoder sees, part by part, 3 ms a part on one core: of the likeliest material first, and
there the first ones of every page. The others are found by what the rest of the ranking says of them."""

_PART_WORDS, _PART_STRIDE_WORDS, _PART_WORDS_MIN = 42, 30, 10
"""What fits the encoder's 64 tokens with the headings; parts overlap, so that no sentence is cut in all of them."""

_BATCH_SECTIONS = 256
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s\"[^\"]*\")?\)")
_TAG = re.compile(
    r"</?(?:a|b|br|code|dd|div|dl|dt|em|i|img|li|ol|p|span|strong|sub|sup|table|tbody|td|th|thead|tr|ul)\b[^<>]*>"
)


@dataclass(frozen=True)
class Section:
    """A section as the index takes it in.

    Attributes:
        passage: what is shown and cited.
        heading_path: headings from the document's title down to the section's own.
        prior: how likely a question is about such material at all, in [0, 1]; 1 for documentation.
    """

    passage: Passage
    heading_path: tuple[str, ...]
    prior: float = 1.0


def build_index(
    sections: Sequence[Section],
    path: Path,
    progress: Callable[[float], None] = lambda _: None,
    sentence_model: SentenceModel | None = None,
    sentences_max: int = SENTENCES_MAX,
) -> None:
    """Write an index file, whole or not at all.

    Args:
        sections: in the order that they are kept in.
        path: of the file; replaced if it exists.
        progress: told the share that is done, in [0, 1].
        sentence_model: the encoder that the index is to carry; without one it is smaller and finds a little less.
        sentences_max: sections that it sees at most.

    Raises:
        SourceUnusable: there is no section.
        EmbedderMissing: the embedding model cannot be loaded.
        StorageFull: no space left.
    """
    if not sections:
        raise SourceUnusable("No section to index: the collection holds no usable text.")
    with atomic_path(path) as temporary:
        with closing(sqlite3.connect(temporary)) as database:
            # The file is renamed into place when whole, so a journal would only cost time.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(DDL)
            with database:
                arrays = _write_texts(database, sections, lambda share: progress(share / 3))
                rows = (
                    ("embedder", EMBEDDER),
                    ("sentence_model", sentence_model.name if sentence_model else ""),
                    ("schema_version", str(SCHEMA_VERSION)),
                    ("sections", str(len(sections))),
                )
                database.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        arrays |= _vectors(sections, lambda share: progress((1 + share) / 3))
        if sentence_model is not None:
            chosen = _likeliest(sections, sentences_max)
            arrays |= _sentence_vectors(sections, chosen, sentence_model, lambda share: progress((2 + share) / 3))
        append_arrays(temporary, arrays)


def _write_texts(
    database: sqlite3.Connection, sections: Sequence[Section], progress: Callable[[float], None]
) -> dict[str, Array]:
    page_numbers: dict[str, int] = {}
    pages = np.asarray(
        [page_numbers.setdefault(item.passage.source_path, len(page_numbers)) for item in sections], dtype="<u4"
    )
    inverted, page_inverted = Inverted(len(sections)), Inverted(len(page_numbers))
    for done, position in enumerate(np.argsort(pages, kind="stable")):
        columns = _columns(sections[position])
        inverted.add(int(position), columns, COLUMN_WEIGHTS)
        page_inverted.add(int(pages[position]), columns, PAGE_COLUMN_WEIGHTS)
        if done % _BATCH_SECTIONS == 0:
            progress(done / len(sections))
    _write_sections(database, sections, inverted)
    postings, page_postings = inverted.postings(B), page_inverted.postings(PAGE_B)
    database.executemany(
        "INSERT INTO terms VALUES (?, ?, ?, ?, ?)",
        ((term, *postings.places[term], *page_postings.places.get(term, (0, 0))) for term in sorted(postings.places)),
    )
    return {
        "contributions": postings.contributions,
        "page_contributions": page_postings.contributions,
        "page_positions": page_postings.positions,
        "positions": postings.positions,
        "section_pages": pages,
    }


def _write_sections(database: sqlite3.Connection, sections: Sequence[Section], inverted: Inverted) -> None:
    first_copy: dict[tuple[str, str], int] = {}
    for position, item in enumerate(sections):
        heading = sorted({token.term for token in content_tokens(item.heading_path[-1])})
        weight = sum(rarity(inverted.texts_with(term), len(sections)) for term in heading)
        passage = item.passage
        database.execute(
            "INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                position + 1,
                passage.section_id,
                passage.source_path,
                passage.url,
                passage.title,
                passage.section,
                json.dumps(item.heading_path, ensure_ascii=False),
                passage.text,
                passage.licence,
                item.prior,
                first_copy.setdefault((passage.section, passage.text), position + 1),
                " ".join(heading),
                weight,
            ),
        )


def searchable_text(markdown: str) -> str:
    """The words of a Markdown text that a reader sees: link targets, images and HTML tags say nothing about it."""
    return _TAG.sub(" ", _LINK.sub(r"\1", markdown))


def _columns(item: Section) -> list[list[str]]:
    """Terms of title, headings, body, and the parts of their compounds."""
    body = searchable_text(item.passage.text)
    columns = [list(tokens(text)) for text in (item.passage.title, " ".join(item.heading_path[1:]), body)]
    terms = [[token.term for token in column] for column in columns]
    terms.append([part for column in columns for token in column for part in token.parts])
    return terms


def embedded_text(item: Section) -> str:
    """The text of a section that is embedded: its headings twice, for they say what it is about, then its body."""
    headings = " › ".join(item.heading_path)
    return f"{headings}\n{headings}\n{searchable_text(item.passage.text)}"


def _vectors(sections: Sequence[Section], progress: Callable[[float], None]) -> dict[str, Array]:
    embedder = load_embedder()
    starts = range(0, len(sections), _BATCH_SECTIONS)
    counts = np.zeros(VOCABULARY, dtype=np.int64)
    for start in starts:
        for ids in embedder.token_ids([embedded_text(item) for item in sections[start : start + _BATCH_SECTIONS]]):
            counts += np.bincount(ids, minlength=VOCABULARY)
    weights = token_weights(counts)
    vectors = np.zeros((len(sections), DIMENSIONS), dtype="<f2")
    for start in starts:
        texts = [embedded_text(item) for item in sections[start : start + _BATCH_SECTIONS]]
        vectors[start : start + len(texts)] = embedder.embed(texts, weights)
        progress(min(1.0, (start + len(texts)) / len(sections)))
    return {"token_weights": weights, **vector_arrays(vectors)}


def _likeliest(sections: Sequence[Section], count: int) -> list[int]:
    """Positions of the sections that a question is most likely about, ascending."""
    seen: Counter[str] = Counter()
    order = []
    for position, item in enumerate(sections):
        order.append((-item.prior, seen[item.passage.source_path], position))
        seen[item.passage.source_path] += 1
    return sorted(position for *_, position in sorted(order)[:count])


def embedded_parts(item: Section) -> list[str]:
    """What of a section the sentence encoder sees: its beginning, then part after part, each under its headings."""
    headings, body = " › ".join(item.heading_path), searchable_text(item.passage.text)
    words = body.split()
    starts = range(_PART_STRIDE_WORDS, len(words) - _PART_WORDS_MIN, _PART_STRIDE_WORDS)
    return [f"{headings}\n{text}" for text in (body, *(" ".join(words[at : at + _PART_WORDS]) for at in starts))]


def _sentence_vectors(
    sections: Sequence[Section], chosen: Sequence[int], model: SentenceModel, progress: Callable[[float], None]
) -> dict[str, Array]:
    parts = [embedded_parts(sections[position]) for position in chosen]
    encoder = SentenceEncoder(model, threads=len(os.sched_getaffinity(0)))
    vectors = encoder.embed([text for texts in parts for text in texts], progress)
    rows = np.full(len(sections), -1, dtype="<i4")
    rows[chosen] = np.cumsum([0, *(len(texts) for texts in parts[:-1])])
    return {
        "sentence_graph": np.frombuffer(model.graph, dtype=np.uint8),
        "sentence_rows": rows,
        "sentence_tokenizer": np.frombuffer(model.tokenizer, dtype=np.uint8),
        "sentence_vectors": vectors.astype("<f2"),
    }
