"""Builds the index file: one SQLite database, the same bytes for the same sections."""

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jeeves_shared.artifacts import atomic_path
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.errors import SourceUnusable
from jeeves_shared.search.embedding import EMBEDDER, VOCABULARY, load_embedder, token_weights
from jeeves_shared.search.schema import COLUMN_WEIGHTS, DDL, SCHEMA_VERSION, rarity, saturation
from jeeves_shared.search.tokens import content_tokens, tokens

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


def build_index(sections: Sequence[Section], path: Path, progress: Callable[[float], None] = lambda _: None) -> None:
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
            database.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                (("embedder", EMBEDDER), ("schema_version", str(SCHEMA_VERSION)), ("sections", str(len(sections)))),
            )


def _write_texts(database: sqlite3.Connection, sections: Sequence[Section], progress: Callable[[float], None]) -> None:
    inverted: dict[str, list[tuple[int, float]]] = defaultdict(list)
    lengths: list[int] = []
    for position, item in enumerate(sections):
        length, frequencies = _weighted_frequencies(item)
        lengths.append(length)
        for term, frequency in frequencies.items():
            inverted[term].append((position, frequency))
        if position % _BATCH_SECTIONS == 0:
            progress(position / len(sections))
    _write_postings(database, inverted, np.asarray(lengths, dtype=np.float64))
    first_copy: dict[tuple[str, str], int] = {}
    for position, item in enumerate(sections):
        heading = sorted({token.term for token in content_tokens(item.heading_path[-1])})
        weight = sum(rarity(len(inverted[term]), len(sections)) for term in heading)
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


def _weighted_frequencies(item: Section) -> tuple[int, dict[str, float]]:
    """Number of terms of a section, and for each term its occurrences weighted by column."""
    body = searchable_text(item.passage.text)
    columns = [list(tokens(text)) for text in (item.passage.title, " ".join(item.heading_path[1:]), body)]
    terms = [[token.term for token in column] for column in columns]
    terms.append([part for column in columns for token in column for part in token.parts])
    frequencies: defaultdict[str, float] = defaultdict(float)
    for weight, column in zip(COLUMN_WEIGHTS, terms, strict=True):
        for term in column:
            frequencies[term] += weight
    return sum(len(column) for column in terms), frequencies


def _write_postings(
    database: sqlite3.Connection, inverted: dict[str, list[tuple[int, float]]], lengths: npt.NDArray[np.float64]
) -> None:
    mean_length = max(float(lengths.mean()), 1.0)

    def rows() -> Iterator[tuple[str, int, bytes, bytes]]:
        for term, entries in sorted(inverted.items()):
            weight = rarity(len(entries), len(lengths))
            contributions = [
                weight * saturation(frequency, float(lengths[position]), mean_length) for position, frequency in entries
            ]
            positions = np.asarray([position for position, _ in entries], dtype="<u4")
            yield term, len(entries), positions.tobytes(), np.asarray(contributions, dtype="<f2").tobytes()

    database.executemany("INSERT INTO postings VALUES (?, ?, ?, ?)", rows())


def embedded_text(item: Section) -> str:
    """The text of a section that is embedded: its headings, then its body; common tokens weigh little anyway."""
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
