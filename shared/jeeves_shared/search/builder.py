"""Builds the index file: one SQLite database, the same bytes for the same sections."""

import json
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
from jeeves_shared.search.embedding import EMBEDDER, VOCABULARY, load_embedder, token_weights
from jeeves_shared.search.schema import DDL, SCHEMA_VERSION
from jeeves_shared.search.tokens import tokens

_BATCH_SECTIONS = 256


@dataclass(frozen=True)
class Section:
    """A section as the index takes it in.

    Attributes:
        passage: what is shown and cited.
        heading_path: headings from the document's title down to the section's own.
    """

    passage: Passage
    heading_path: tuple[str, ...]


def build_index(
    sections: Sequence[Section], path: Path, progress: Callable[[float], None] = lambda _: None
) -> None:
    """Write an index file, whole or not at all.

    Args:
        sections: in the order that they are kept in.
        path: of the file; replaced if it exists.
        progress: told the share that is done, in [0, 1].

    Raises:
        SourceUnusable: there is no section.
        EmbedderMissing: the embedding model cannot be loaded.
        StorageFull: no space left.
    """
    if not sections:
        raise SourceUnusable("No section to index: the collection holds no usable text.")
    with atomic_path(path) as temporary, closing(sqlite3.connect(temporary)) as database:
        # The file is renamed into place when whole, so a journal would only cost time.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(DDL)
        with database:
            _write_texts(database, sections, lambda share: progress(share / 2))
            _write_vectors(database, sections, lambda share: progress(0.5 + share / 2))
            database.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")
            database.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                (("embedder", EMBEDDER), ("schema_version", str(SCHEMA_VERSION)), ("sections", str(len(sections)))),
            )


def _write_texts(database: sqlite3.Connection, sections: Sequence[Section], progress: Callable[[float], None]) -> None:
    frequencies: Counter[str] = Counter()
    for number, item in enumerate(sections, start=1):
        passage = item.passage
        database.execute(
            "INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                passage.section_id,
                passage.source_path,
                passage.url,
                passage.title,
                passage.section,
                json.dumps(item.heading_path, ensure_ascii=False),
                passage.text,
                passage.licence,
            ),
        )
        columns = [list(tokens(text)) for text in (passage.title, " ".join(item.heading_path[1:]), passage.text)]
        terms = [[token.term for token in column] for column in columns]
        parts = [part for column in columns for token in column for part in token.parts]
        database.execute(
            "INSERT INTO lexical (rowid, title, heading, body, parts) VALUES (?, ?, ?, ?, ?)",
            (number, *(" ".join(column) for column in (*terms, parts))),
        )
        frequencies.update({term for column in (*terms, parts) for term in column})
        if number % _BATCH_SECTIONS == 0:
            progress(number / len(sections))
    database.executemany("INSERT INTO terms VALUES (?, ?)", sorted(frequencies.items()))


def embedded_text(item: Section) -> str:
    """The text of a section that is embedded: its headings, then its body."""
    return f"{' › '.join(item.heading_path)}\n{item.passage.text}"


def _write_vectors(
    database: sqlite3.Connection, sections: Sequence[Section], progress: Callable[[float], None]
) -> None:
    embedder = load_embedder()
    texts = [embedded_text(item) for item in sections]
    counts = np.zeros(VOCABULARY, dtype=np.int64)
    batches = [texts[start : start + _BATCH_SECTIONS] for start in range(0, len(texts), _BATCH_SECTIONS)]
    for batch in batches:
        for ids in embedder.token_ids(batch):
            counts += np.bincount(ids, minlength=VOCABULARY)
    weights = token_weights(counts)
    vectors = []
    for number, batch in enumerate(batches, start=1):
        vectors.append(embedder.embed(batch, weights).astype(np.float16))
        progress(number / len(batches))
    database.executemany(
        "INSERT INTO blobs VALUES (?, ?)",
        (("token_weights", weights.tobytes()), ("vectors", np.concatenate(vectors).tobytes())),
    )
