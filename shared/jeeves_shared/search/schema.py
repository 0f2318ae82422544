"""Layout of the index file, and the formulas that builder and reader share.

Bump `SCHEMA_VERSION` with any change to the layout, the tokens, the weights or the embedded text.

The inverted index holds ready-made BM25 contributions, for sections and for whole pages (the sections of one document
together): a search adds up the arrays of the question's terms. Other engines were measured beside it (ADR 0008).
"""

import math

import numpy as np
import numpy.typing as npt

SCHEMA_VERSION = 5

COLUMN_WEIGHTS = (3.0, 3.0, 1.0, 0.5)
"""Term frequency weights of title, headings, body and parts of compounds; flat between 2 and 4."""

PAGE_COLUMN_WEIGHTS = (0.0, 1.0, 1.0, 0.5)
"""The same for a page: its title stands in each of its sections, and would drown the rest."""

K1 = 1.2
B = 0.75
PAGE_B = 0.5
"""Pages differ more in length than sections, and a long page is about more: less is taken off for it."""

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
CREATE TABLE terms (
    term TEXT PRIMARY KEY,
    sections INTEGER NOT NULL,
    start INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    page_start INTEGER NOT NULL
) WITHOUT ROWID;
"""
"""`copy_of`: id of the first section with the same heading and text, its own if there is none.
`terms`: where a term's postings begin in the arrays of the file, and how many there are."""

ARRAYS = """
positions            uint32   section id - 1, ascending within a term
contributions        float16  beside it
page_positions       uint32   number of the page, ascending within a term
page_contributions   float16  beside it
section_pages        uint32   page of each section
token_weights        float32  of the embedding's vocabulary
vectors              float16  sections x dimensions; by cluster when `centres` is there
centre               float32  unit vector of the mean of all sections
centres, cluster_starts, vector_position, vector_rank   see `vectors`
"""


def rarity(sections_with_term: int, sections: int) -> float:
    """Inverse document frequency of a term, above 0.

    Args:
        sections_with_term: how many sections hold it, >= 0.
        sections: in the index, >= 1.

    Source: the probabilistic idf, with the + 1 that keeps it positive; Robertson, Zaragoza, The Probabilistic Relevance
        Framework: BM25 and Beyond, 2009, section 3.3, as Lucene has it.
    """
    return math.log(1 + (sections - sections_with_term + 0.5) / (sections_with_term + 0.5))


def saturation(
    frequencies: npt.NDArray[np.floating], relative_lengths: npt.NDArray[np.floating], b: float
) -> npt.NDArray[np.floating]:
    """BM25's share for one term in some texts, in [0, K1 + 1); times the rarity it is the contribution.

    Args:
        frequencies: weighted occurrences over the columns, > 0.
        relative_lengths: of the same texts in terms of all columns, 1 for the mean of all texts.
        b: how much a long text is marked down, in [0, 1].

    Source: as `rarity`, equation 3.15, with BM25F's weighted frequencies.
    """
    shares: npt.NDArray[np.floating] = frequencies * (K1 + 1) / (frequencies + K1 * (1 - b + b * relative_lengths))
    return shares
