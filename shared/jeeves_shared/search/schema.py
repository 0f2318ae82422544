"""Layout of the index file, and the formulas that builder and reader share.

Bump `SCHEMA_VERSION` with any change to the layout, the tokens, the weights or the embedded text.

`postings` is an inverted index with ready-made BM25 contributions: a search adds up the arrays of the question's terms.
SQLite's FTS5 was measured first: slower, and its idf drops common words to zero (docs/experiments.md).
"""

import math

SCHEMA_VERSION = 1

COLUMN_WEIGHTS = (3.0, 3.0, 1.0, 0.5)
"""Term frequency weights of title, headings, body and parts of compounds; flat between 2 and 4."""

K1 = 1.2
B = 0.75

DDL = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sections (
    id INTEGER PRIMARY KEY,
    section_id TEXT NOT NULL UNIQUE,
    source_path TEXT NOT NULL,
    url TEXT NOT NULL,
    title TEXT NOT NULL,
    section TEXT NOT NULL,
    heading_path TEXT NOT NULL,
    text TEXT NOT NULL,
    licence TEXT NOT NULL,
    prior REAL NOT NULL,
    copy_of INTEGER NOT NULL,
    heading_terms TEXT NOT NULL,
    heading_weight REAL NOT NULL
);
CREATE INDEX sections_by_source ON sections (source_path, id);
CREATE TABLE postings (
    term TEXT PRIMARY KEY,
    sections INTEGER NOT NULL,
    positions BLOB NOT NULL,
    contributions BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE blobs (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
"""`copy_of`: id of the first section with the same heading and text, its own if there is none.
`positions`: little-endian uint32, section id - 1, ascending; `contributions`: float16 beside it.
`blobs`: `vectors` float16 (sections x dimensions), `token_weights` float32 (vocabulary)."""


def rarity(sections_with_term: int, sections: int) -> float:
    """Inverse document frequency of a term, above 0.

    Args:
        sections_with_term: how many sections hold it, >= 0.
        sections: in the index, >= 1.

    Source: the probabilistic idf, with the + 1 that keeps it positive; Robertson, Zaragoza, The Probabilistic Relevance
        Framework: BM25 and Beyond, 2009, section 3.3, as Lucene has it.
    """
    return math.log(1 + (sections - sections_with_term + 0.5) / (sections_with_term + 0.5))


def saturation(frequency: float, length: float, mean_length: float) -> float:
    """BM25's share for one term in one section, in [0, K1 + 1); times the rarity it is the contribution.

    Args:
        frequency: weighted occurrences over the columns, > 0.
        length: terms of the section, all columns.
        mean_length: over all sections, > 0.

    Source: as `rarity`, equation 3.15, with BM25F's weighted frequencies.
    """
    return frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * length / mean_length))
