"""Reads the index file: hybrid search over sections.

A section's score is the weighted sum of seven figures, each in [0, 1], divided by the sum of the weights:

| figure | what it is good at | weight |
|---|---|---|
| cosine of the static embeddings | other words for the same thing | 1 |
| cosine of the sentence encoder, if the index carries one: beginning and best part | what is meant as a whole | 1.5 |
| BM25 over title, headings, body, parts of identifiers; as a share of the best section's | exact words | 0.25 |
| BM25 of the whole page; as a share of the best page's | a question whose words are spread over a page | 0.45 |
| coverage: IDF-weighted share of the question's terms | many of the words before one of them often | 0.4 |
| agreement of question and heading: harmonic mean of the IDF-weighted shares | "What is X?", "How do I X?" | 0.25 |
| prior of the material | handbook before plans, reports and internals | 0.5 |

What each brings is in docs/experiments.md and ADR 0014.
"""

import json
import queue
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search.arrays import map_arrays
from jeeves_shared.search.builder import Section
from jeeves_shared.search.embedding import EMBEDDER, TokenEmbedder, load_embedder
from jeeves_shared.search.errors import IndexUnusable
from jeeves_shared.search.lexical import Lexicon, Question, coverage, heading_agreement
from jeeves_shared.search.schema import K1, SCHEMA_VERSION, rarity
from jeeves_shared.search.sentences import SectionSentences
from jeeves_shared.search.tokens import content_tokens, identifiers, tokens
from jeeves_shared.search.vectors import Positions, SectionVectors, Vector, top

WEIGHT_SIMILARITY = 1.0
WEIGHT_SENTENCE = 1.5
WEIGHT_LEXICAL = 0.25
WEIGHT_PAGE = 0.45
WEIGHT_COVERAGE = 0.4
WEIGHT_HEADING = 0.25
WEIGHT_PRIOR = 0.5
_WEIGHTS_SUM = (
    WEIGHT_SIMILARITY + WEIGHT_SENTENCE + WEIGHT_LEXICAL + WEIGHT_PAGE + WEIGHT_COVERAGE + WEIGHT_HEADING + WEIGHT_PRIOR
)

CANDIDATES = 100
"""Taken from each of the three searches before fusion: ten times what is ever asked for."""

_CONNECTIONS = 4


@dataclass(frozen=True)
class Hit:
    """A section that was found, with the figures that say why.

    Attributes:
        rank: from 1.
        score: fused, in [0, 1]; compares hits of one question only, the best lexical one always has its full share.
        page: BM25 of the whole page as a share of the best page's, in [0, 1].
        heading: agreement of question and heading, in [0, 1].
        prior: of the material, in [0, 1].
        lexical: BM25 as a share of what the question's terms can reach at most, in [0, 1]; compares across questions.
        similarity: cosine of the static embeddings, in [-1, 1]; compares across questions.
        sentence: cosine of the sentence encoder, a third of the section's beginning and two thirds of its best part, in
            [0, 1]; from `similarity` where the section has no such vector, 0 in an index without an encoder.
        coverage: IDF-weighted share of the question's content terms that occur in the section's text or titles.
        passage: the section.
    """

    rank: int
    score: float
    lexical: float
    similarity: float
    sentence: float
    coverage: float
    page: float
    heading: float
    prior: float
    passage: Passage


@dataclass(frozen=True)
class Topicality:
    """Whether a question speaks of what the index is about, whatever was found for it.

    Attributes:
        domain: cosine of the question and the mean of all sections, in [-1, 1].
        strangeness: mean rarity of the question's content terms as a share of that of an unknown term, in [0, 1].
    """

    domain: float
    strangeness: float


@dataclass(frozen=True)
class _Candidate:
    position: int
    copy_of: int
    source_path: str
    score: float
    similarity: float
    sentence: float
    lexical: float
    coverage: float
    page: float
    heading: float
    prior: float


class SearchIndex:
    """An open index. Safe to share between threads; it never writes. Made by `open`."""

    def __init__(
        self, path: Path, embedder: TokenEmbedder, connection: sqlite3.Connection, meta: dict[str, str]
    ) -> None:
        self.path = path
        self.sections = sections = int(meta["sections"])
        self._embedder = embedder
        # SQLite connections serve one thread at a time; a few are enough, for a search takes milliseconds.
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._idle.put(connection)
        for _ in range(_CONNECTIONS - 1):
            self._idle.put(_connect(path))
        arrays = map_arrays(path)
        self._token_weights = arrays["token_weights"]
        self._section_pages = arrays["section_pages"]
        self._lexicon = Lexicon(arrays, sections)
        self._vectors = SectionVectors(arrays)
        self._sentences = SectionSentences(meta["sentence_model"], arrays)

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
            return cls(path, load_embedder(), connection, meta)
        except sqlite3.DatabaseError as exc:
            connection.close()
            raise IndexUnusable(f"{path.name} is not a search index or is damaged: build it again.") from exc

    def close(self) -> None:
        """Close the file. No search may be running or follow."""
        for _ in range(_CONNECTIONS):
            self._idle.get().close()

    def search(self, question: str, limit: int = 8, per_page: int = 0) -> list[Hit]:
        """The sections that answer a question best.

        Args:
            question: as a person typed it.
            limit: at most this many hits, 1 to `CANDIDATES`.
            per_page: at most this many sections of one document; 0 for no such limit. With a limit pages are asked
                for, so that two pages with the same text are both named; without one the text is given once.

        Returns:
            Best first; empty when the question holds nothing to look for.
        """
        with self._connection() as connection:
            asked = self._lexicon.ask(connection, question)
            if not asked.tokens:
                return []
            best = _selected(self._ranked(connection, asked, question), limit, per_page)
            passages = _passages(connection, [candidate.position for candidate in best])
        reachable = (K1 + 1) * asked.weight
        return [
            Hit(
                rank=rank,
                score=candidate.score,
                lexical=min(1.0, candidate.lexical / reachable),
                similarity=candidate.similarity,
                sentence=candidate.sentence,
                coverage=candidate.coverage,
                page=candidate.page,
                heading=candidate.heading,
                prior=candidate.prior,
                passage=passages[candidate.position],
            )
            for rank, candidate in enumerate(best, start=1)
        ]

    def topicality(self, question: str) -> Topicality:
        """How far a question is from what the index is about.

        Args:
            question: as a person typed it.
        """
        terms = [token.term for token in content_tokens(question)]
        if not terms:
            return Topicality(domain=0.0, strangeness=1.0)
        vector: Vector = self._embedder.embed([question], self._token_weights)[0]
        with self._connection() as connection:
            rarities = [rarity(_frequency(connection, term), self.sections) for term in terms]
        return Topicality(
            domain=self._vectors.domain(vector),
            strangeness=sum(rarities) / len(rarities) / rarity(0, self.sections),
        )

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

    def whole_section(self, passage: Passage, characters_max: int) -> Passage:
        """A hit together with the other parts of its section: a long section was cut at blank lines.

        Args:
            passage: a hit of this index.
            characters_max: parts after the hit are added while they fit, then those before it.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT part.id - hit.id, part.text FROM sections AS hit JOIN sections AS part "
                "ON part.source_path = hit.source_path AND part.heading_path = hit.heading_path "
                "WHERE hit.section_id = ?",
                (passage.section_id,),
            )
            parts: dict[int, str] = dict(rows)
        first, last, size = 0, 0, len(passage.text)
        while (text := parts.get(last + 1)) is not None and size + len(text) + 2 <= characters_max:
            last, size = last + 1, size + len(text) + 2
        while (text := parts.get(first - 1)) is not None and size + len(text) + 2 <= characters_max:
            first, size = first - 1, size + len(text) + 2
        if first == last:
            return passage
        return passage.model_copy(update={"text": "\n\n".join(parts[at] for at in range(first, last + 1))})

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put(connection)

    def _ranked(self, connection: sqlite3.Connection, asked: Question, question: str) -> list[_Candidate]:
        """All candidates, best first."""
        vector: Vector = self._embedder.embed([question], self._token_weights)[0]
        lexical, pages = self._lexicon.section_scores(asked), self._lexicon.page_scores(asked)
        meaning = self._sentences.ask(question)
        near, alike = self._vectors.nearest(vector, CANDIDATES), self._sentences.nearest(meaning, CANDIDATES)
        positions = np.unique(np.concatenate([top(lexical, CANDIDATES), near, alike])).astype(np.intp)
        similarity = self._vectors.similarity(vector, positions)
        sentence = self._sentences.similarity(meaning, positions, similarity)
        covered = coverage(asked, positions)
        highest, highest_page = float(lexical.max()) or 1.0, float(pages.max()) or 1.0
        rows = connection.execute(
            "SELECT copy_of, source_path, prior, heading_terms, heading_weight FROM sections "  # noqa: S608
            f"WHERE id IN ({_marks(positions)}) ORDER BY id",
            [int(position) + 1 for position in positions],
        )
        ranked = []
        for number, (copy_of, source_path, prior, heading_terms, heading_weight) in enumerate(rows):
            position = int(positions[number])
            page = float(pages[self._section_pages[position]]) / highest_page
            heading = heading_agreement(asked, frozenset(heading_terms.split()), heading_weight)
            total = (
                WEIGHT_SIMILARITY * max(0.0, float(similarity[number]))
                + WEIGHT_SENTENCE * float(sentence[number])
                + WEIGHT_LEXICAL * float(lexical[position]) / highest
                + WEIGHT_PAGE * page
                + WEIGHT_COVERAGE * float(covered[number])
                + WEIGHT_HEADING * heading
                + WEIGHT_PRIOR * prior
            )
            ranked.append(
                _Candidate(
                    position=position,
                    copy_of=copy_of,
                    source_path=source_path,
                    score=total / _WEIGHTS_SUM,
                    similarity=float(similarity[number]),
                    sentence=float(sentence[number]),
                    lexical=float(lexical[position]),
                    coverage=float(covered[number]),
                    page=page,
                    heading=heading,
                    prior=prior,
                )
            )
        return sorted(ranked, key=lambda candidate: (-candidate.score, candidate.position))


def _selected(ranked: Iterable[_Candidate], limit: int, per_page: int) -> list[_Candidate]:
    """The first ones. Without second copies of a text, unless pages are wanted: they tell a model nothing new."""
    kept: list[_Candidate] = []
    copies: set[int] = set()
    of_page: Counter[str] = Counter()
    for candidate in ranked:
        if len(kept) == limit:
            break
        if of_page[candidate.source_path] >= per_page if per_page else candidate.copy_of in copies:
            continue
        copies.add(candidate.copy_of)
        of_page[candidate.source_path] += 1
        kept.append(candidate)
    return kept


def _connect(path: Path) -> sqlite3.Connection:
    # Immutable: no locks, no journal; the file never changes under its content address.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.execute("PRAGMA mmap_size = 268435456")
    return connection


def _marks(values: Sequence[object] | Positions) -> str:
    return ",".join("?" * len(values))


def _frequency(connection: sqlite3.Connection, term: str) -> int:
    row = connection.execute("SELECT sections FROM terms WHERE term = ?", (term,)).fetchone()
    return int(row[0]) if row else 0


def _passages(connection: sqlite3.Connection, positions: Sequence[int]) -> dict[int, Passage]:
    rows = connection.execute(
        "SELECT id, section_id, source_path, url, title, section, text, licence FROM sections "  # noqa: S608
        f"WHERE id IN ({_marks(positions)})",
        [position + 1 for position in positions],
    )
    fields = ("section_id", "source_path", "url", "title", "section", "text", "licence")
    return {row[0] - 1: Passage(**dict(zip(fields, row[1:], strict=True))) for row in rows}
