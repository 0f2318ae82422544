"""Reads the index file: hybrid search over sections.

A section's score is the weighted sum of four figures, each in [0, 1], divided by the sum of the weights:

| figure | what it is good at | weight |
|---|---|---|
| BM25 over title, headings, body, parts of identifiers; as a share of the best hit's | exact words, identifiers | 1 |
| cosine of the embeddings | other words for the same thing | 0.5 |
| agreement of question and heading: harmonic mean of the IDF-weighted shares | "What is X?", "How do I X?" | 0.25 |
| prior of the material | documentation before plans and reports | 0.1 |

What each brings is in docs/experiments.md.
"""

import json
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search.builder import Section
from jeeves_shared.search.embedding import DIMENSIONS, EMBEDDER, TokenEmbedder, Vectors, load_embedder
from jeeves_shared.search.errors import IndexUnusable
from jeeves_shared.search.schema import K1, SCHEMA_VERSION, rarity
from jeeves_shared.search.tokens import STOP_WORDS, Token, content_tokens, identifiers, tokens

WEIGHT_LEXICAL = 1.0
WEIGHT_SIMILARITY = 0.5
WEIGHT_HEADING = 0.25
WEIGHT_PRIOR = 0.1
_WEIGHTS_SUM = WEIGHT_LEXICAL + WEIGHT_SIMILARITY + WEIGHT_HEADING + WEIGHT_PRIOR

CANDIDATES = 100
"""Taken from each of the two searches before fusion: ten times what is ever asked for."""

QUESTION_TERMS_MAX = 64
"""A pasted log is not a question: what comes after is not looked up, so that its search takes no longer."""

PART_WEIGHT = 0.5
"""Of the parts of a compound in the question: `withCredentials` is more than `with` and `credentials`."""

_CONNECTIONS = 4


@dataclass(frozen=True)
class Hit:
    """A section that was found, with the figures that say why.

    Attributes:
        rank: from 1.
        score: fused, in [0, 1]; compares hits of one question only, the best lexical one always has its full share.
        lexical: BM25 as a share of what the question's terms can reach at most, in [0, 1]; compares across questions.
        similarity: cosine of the embeddings, in [-1, 1]; compares across questions.
        coverage: IDF-weighted share of the question's content terms that occur in the section's text or titles.
        passage: the section.
    """

    rank: int
    score: float
    lexical: float
    similarity: float
    coverage: float
    passage: Passage


@dataclass(frozen=True)
class _Posting:
    rarity: float
    positions: npt.NDArray[np.uint32]
    contributions: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Question:
    """What is looked for, with the postings of every term and part."""

    tokens: list[Token]
    postings: dict[str, _Posting]

    @property
    def weight(self) -> float:
        return sum(self.postings[token.term].rarity for token in self.tokens)


class SearchIndex:
    """An open index. Safe to share between threads; it never writes. Made by `open`."""

    def __init__(self, path: Path, embedder: TokenEmbedder, connection: sqlite3.Connection, sections: int) -> None:
        self.path = path
        self.sections = sections
        self._embedder = embedder
        # SQLite connections serve one thread at a time; a few are enough, for a search takes milliseconds.
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._idle.put(connection)
        for _ in range(_CONNECTIONS - 1):
            self._idle.put(_connect(path))
        self._token_weights = np.frombuffer(_blob(connection, "token_weights"), dtype=np.float32)
        vectors = np.frombuffer(_blob(connection, "vectors"), dtype=np.float16).reshape(-1, DIMENSIONS)
        self._vectors: Vectors = vectors.astype(np.float32)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index file for reading.

        Raises:
            IndexUnusable: no such file, no index, or built by other rules than this reader's.
            EmbedderMissing: the embedding model cannot be loaded.
        """
        if not path.is_file():
            raise IndexUnusable(f"There is no search index at {path}: build one (`jeeves curate`).")
        connection = _connect(path)
        try:
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            expected = {"schema_version": str(SCHEMA_VERSION), "embedder": EMBEDDER}
            different = [
                f"{key} {meta.get(key)}, not {value}" for key, value in expected.items() if meta.get(key) != value
            ]
            if different:
                raise IndexUnusable(f"The search index has {', '.join(different)}: build it again with this version.")
            return cls(path, load_embedder(), connection, int(meta["sections"]))
        except sqlite3.DatabaseError as exc:
            connection.close()
            raise IndexUnusable(f"{path.name} is not a search index or is damaged: build it again.") from exc

    def close(self) -> None:
        """Close the file. No search may be running or follow."""
        for _ in range(_CONNECTIONS):
            self._idle.get().close()

    def search(self, question: str, limit: int = 8) -> list[Hit]:
        """The sections that answer a question best.

        Args:
            question: as a person typed it.
            limit: at most this many hits, 1 to `CANDIDATES`.

        Returns:
            Best first; empty when the question holds nothing to look for.
        """
        with self._connection() as connection:
            asked = self._ask(connection, question)
            if not asked.tokens:
                return []
            lexical = self._lexical(asked)
            similarity = self._similarity(question)
            scores = self._fuse(connection, asked, lexical, similarity)
            best = list(scores)[:limit]
            passages = _passages(connection, best)
        coverage = self._coverage(asked)
        reachable = (K1 + 1) * asked.weight
        return [
            Hit(
                rank=rank,
                score=scores[position],
                lexical=min(1.0, float(lexical[position]) / reachable),
                similarity=float(similarity[position]),
                coverage=float(coverage[position]),
                passage=passages[position],
            )
            for rank, position in enumerate(best, start=1)
        ]

    def unknown_identifiers(self, question: str) -> list[str]:
        """Identifiers in a question that occur nowhere in the index: likely made up, or misspelt."""
        with self._connection() as connection:
            return [
                word
                for word in identifiers(question)
                if (first := next(tokens(word), None)) is not None and _frequency(connection, first.term) == 0
            ]

    def rarity(self, term: str) -> float:
        """Inverse document frequency of a term as `tokens` makes them."""
        with self._connection() as connection:
            return rarity(_frequency(connection, term), self.sections)

    def sections_of(self, source_path: str) -> list[Section]:
        """All sections of a document, in order."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT id, heading_path, prior FROM sections WHERE source_path = ? ORDER BY id", (source_path,)
            ).fetchall()
            passages = _passages(connection, [number - 1 for number, _, _ in rows])
        return [Section(passages[number - 1], tuple(json.loads(path)), prior) for number, path, prior in rows]

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def _ask(self, connection: sqlite3.Connection, question: str) -> _Question:
        wanted: dict[str, Token] = {}
        for token in content_tokens(question):
            wanted.setdefault(token.term, token)
        kept = list(wanted.values())[:QUESTION_TERMS_MAX]
        terms = {term for token in kept for term in (token.term, *_parts(token))}
        return _Question(kept, {term: self._posting(connection, term) for term in sorted(terms)})

    def _posting(self, connection: sqlite3.Connection, term: str) -> _Posting:
        row = connection.execute("SELECT positions, contributions FROM postings WHERE term = ?", (term,)).fetchone()
        positions = np.frombuffer(row[0] if row else b"", dtype="<u4")
        contributions = np.frombuffer(row[1] if row else b"", dtype="<f2").astype(np.float32)
        return _Posting(rarity(len(positions), self.sections), positions, contributions)

    def _lexical(self, asked: _Question) -> Vectors:
        """BM25 of every section. A part of a compound counts by `PART_WEIGHT`, unless it is asked for itself."""
        scores = np.zeros(self.sections, dtype=np.float32)
        terms = {token.term for token in asked.tokens}
        for term, posting in asked.postings.items():
            scores[posting.positions] += posting.contributions * (1.0 if term in terms else PART_WEIGHT)
        return scores

    def _coverage(self, asked: _Question) -> Vectors:
        covered = np.zeros(self.sections, dtype=np.float32)
        for token in asked.tokens:
            posting = asked.postings[token.term]
            # A compound that is not there itself is covered by the share of its parts that are.
            present = np.zeros(self.sections, dtype=np.float32)
            parts = _parts(token)
            for part in parts:
                present[asked.postings[part].positions] += 1 / len(parts)
            present[posting.positions] = 1
            covered += posting.rarity * present
        return covered / np.float32(asked.weight)

    def _similarity(self, question: str) -> Vectors:
        vector = self._embedder.embed([question], self._token_weights)[0]
        # Not `@`: BLAS would start its threads, and waits 16 ms for them on a machine whose cores the engine has.
        similarity: Vectors = np.vecdot(self._vectors, vector)
        return similarity

    def _fuse(
        self, connection: sqlite3.Connection, asked: _Question, lexical: Vectors, similarity: Vectors
    ) -> dict[int, float]:
        """Fused score by position, best first, each text once."""
        candidates = sorted({*_top(lexical), *_top(similarity)})
        highest = float(lexical.max()) or 1.0
        rows = connection.execute(
            "SELECT id - 1, copy_of, prior, heading_terms, heading_weight FROM sections "  # noqa: S608
            f"WHERE id IN ({_marks(candidates)})",
            [position + 1 for position in candidates],
        )
        ranked = []
        for position, copy_of, prior, heading_terms, heading_weight in rows:
            total = (
                WEIGHT_LEXICAL * float(lexical[position]) / highest
                + WEIGHT_SIMILARITY * max(0.0, float(similarity[position]))
                + WEIGHT_HEADING * _heading_agreement(asked, heading_terms.split(), heading_weight)
                + WEIGHT_PRIOR * prior
            )
            ranked.append((-total / _WEIGHTS_SUM, position, copy_of))
        ranked.sort()
        # A second copy of a text tells a model and a reader nothing new.
        first: dict[int, int] = {}
        for _, position, copy_of in ranked:
            first.setdefault(copy_of, position)
        return {position: -negative for negative, position, copy_of in ranked if first[copy_of] == position}


def _connect(path: Path) -> sqlite3.Connection:
    # Immutable: no locks, no journal; the file never changes under its content address.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.execute("PRAGMA mmap_size = 268435456")
    return connection


def _blob(connection: sqlite3.Connection, name: str) -> bytes:
    row = connection.execute("SELECT value FROM blobs WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"no blob {name}")
    return bytes(row[0])


def _marks(values: Sequence[int]) -> str:
    return ",".join("?" * len(values))


def _frequency(connection: sqlite3.Connection, term: str) -> int:
    row = connection.execute("SELECT sections FROM postings WHERE term = ?", (term,)).fetchone()
    return int(row[0]) if row else 0


def _parts(token: Token) -> list[str]:
    return [part for part in token.parts if part not in STOP_WORDS]


def _top(scores: Vectors) -> list[int]:
    count = min(CANDIDATES, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    return [int(position) for position in best if scores[position] > 0]


def _heading_agreement(asked: _Question, heading_terms: Sequence[str], heading_weight: float) -> float:
    common = sum(asked.postings[token.term].rarity for token in asked.tokens if token.term in heading_terms)
    # 2pr / (p + r) with p = common / heading and r = common / question.
    return 2 * common / (heading_weight + asked.weight) if common else 0.0


def _passages(connection: sqlite3.Connection, positions: Sequence[int]) -> dict[int, Passage]:
    rows = connection.execute(
        "SELECT id, section_id, source_path, url, title, section, text, licence FROM sections "  # noqa: S608
        f"WHERE id IN ({_marks(positions)})",
        [position + 1 for position in positions],
    )
    fields = ("section_id", "source_path", "url", "title", "section", "text", "licence")
    return {row[0] - 1: Passage(**dict(zip(fields, row[1:], strict=True))) for row in rows}
