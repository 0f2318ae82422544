"""Feedback on answers: bound to a response, reviewed by a person, exported for the collector.

An answer and its question are stored only when somebody sends feedback on them; until then they are kept in memory,
the latest few, for the key that asked. What is stored is masked first.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Column, DateTime, Engine, MetaData, String, Table, Text, delete, func, insert, select, update

from jeeves_gateway.diagnosis.masking import Masker
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.feedback import FeedbackItem, Rating
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import create_tables

State = Literal["pending", "accepted", "rejected"]
_RECENT_MAX = 2000
_TEXT_CHARACTERS_MAX = 8000

_metadata = MetaData()
_feedback = Table(
    "feedback",
    _metadata,
    Column("id", String(40), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("owner", String(100), nullable=False, index=True),
    Column("response_id", String(64), nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("corrected_answer", Text, nullable=False),
    Column("rating", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("state", String(10), nullable=False, index=True),
    Column("reviewed_by", String(100), nullable=False),
)


class FeedbackRequest(Contract):
    """`POST /v1/feedback`."""

    response_id: str = Field(max_length=64)
    rating: Rating
    corrected_answer: str = Field(default="", max_length=_TEXT_CHARACTERS_MAX)
    reason: str = Field(default="", max_length=1000)
    outcome: str = Field(default="", max_length=200, description="What came of it, such as `the build went green`.")
    question: str = Field(default="", max_length=_TEXT_CHARACTERS_MAX, description="Only if the gateway asks for it.")
    answer: str = Field(default="", max_length=_TEXT_CHARACTERS_MAX, description="Only if the gateway asks for it.")


class FeedbackReview(Contract):
    """`POST /v1/admin/feedback/{id}/review`."""

    accept: bool
    corrected_answer: str | None = Field(default=None, max_length=_TEXT_CHARACTERS_MAX)


class StoredFeedback(Contract):
    """Feedback as it is on record."""

    id: str
    at: datetime
    response_id: str
    question: str
    answer: str
    corrected_answer: str
    rating: Rating
    reason: str
    outcome: str
    state: State
    reviewed_by: str


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """How much feedback there is.

    Attributes:
        given: in all.
        accepted: by a reviewer.
        recent_bad: bad ratings among the latest.
        newest: id of the latest, empty if there is none.
    """

    given: int
    accepted: int
    recent_bad: int
    newest: str


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer that went out."""

    owner: str
    question: str
    answer: str
    model_id: str = ""
    """Of the model that was asked; empty if that is not known."""


class RecentAnswers:
    """The latest answers, in memory, so that feedback need not repeat them."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, GivenAnswer] = OrderedDict()
        self._rated: set[str] = set()

    def add(self, response_id: str, given: GivenAnswer) -> None:
        """Keep an answer for a while."""
        self._answers[response_id] = given
        while len(self._answers) > _RECENT_MAX:
            self._rated.discard(self._answers.popitem(last=False)[0])

    def first_rating(self, response_id: str) -> bool:
        """Whether an answer is rated for the first time; asking makes it rated."""
        first = response_id in self._answers and response_id not in self._rated
        if first:
            self._rated.add(response_id)
        return first

    def find(self, response_id: str, owner: str) -> GivenAnswer | None:
        """An answer that was given to this key."""
        found = self._answers.get(response_id)
        return found if found is not None and found.owner == owner else None

    def forget(self, owner: str) -> None:
        """Drop all answers to a key."""
        for response_id in [key for key, given in self._answers.items() if given.owner == owner]:
            del self._answers[response_id]
            self._rated.discard(response_id)


class Feedback:
    """All feedback. Every method may block: call it from a thread.

    Args:
        engine: from `jeeves_shared.jobs.store.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, _metadata)

    def add(self, request: FeedbackRequest, given: GivenAnswer) -> StoredFeedback:
        """Store feedback, masked; feedback on the same response by the same key takes the place of the earlier one.

        Raises:
            Conflict: the earlier one was reviewed already.
        """
        masker = Masker()
        texts = {
            "question": given.question,
            "answer": given.answer,
            "corrected_answer": request.corrected_answer,
            "reason": request.reason,
            "outcome": request.outcome,
        }
        for line in "\n".join(texts.values()).splitlines():
            masker.notice(line)
        row = {
            "id": f"feedback-{uuid.uuid4().hex[:20]}",
            "at": datetime.now(UTC),
            "owner": given.owner,
            "response_id": request.response_id,
            "rating": request.rating,
            "state": "pending",
            "reviewed_by": "",
            **{name: masker.masked(text) for name, text in texts.items()},
        }
        same = (_feedback.c.response_id == request.response_id) & (_feedback.c.owner == given.owner)
        with self._engine.begin() as connection:
            earlier = connection.execute(select(_feedback.c.state).where(same)).scalar_one_or_none()
            if earlier not in (None, "pending"):
                raise Conflict("Feedback on this response was reviewed already: thank you.")
            connection.execute(delete(_feedback).where(same))
            connection.execute(insert(_feedback).values(**row))
        return _stored(row)

    def listed(self, state: State | None, limit: int = 200) -> list[StoredFeedback]:
        """Feedback, oldest first."""
        query = select(_feedback).order_by(_feedback.c.at).limit(limit)
        with self._engine.connect() as connection:
            rows = (
                connection.execute(query if state is None else query.where(_feedback.c.state == state)).mappings().all()
            )
        return [_stored(row) for row in rows]

    def review(self, feedback_id: str, review: FeedbackReview, reviewer: str) -> StoredFeedback:
        """Accept or reject.

        Raises:
            NotFound: no such feedback.
            Conflict: a bad rating without a corrected answer teaches nothing.
        """
        this = _feedback.c.id == feedback_id
        with self._engine.begin() as connection:
            row = connection.execute(select(_feedback).where(this)).mappings().one_or_none()
            if row is None:
                raise NotFound(f"No feedback {feedback_id[:60]}: GET /v1/admin/feedback lists it.")
            corrected = row["corrected_answer"] if review.corrected_answer is None else review.corrected_answer
            if review.accept and row["rating"] == "down" and not corrected.strip():
                raise Conflict("A bad answer needs its correction before it is accepted: send corrected_answer.")
            values = {
                "state": "accepted" if review.accept else "rejected",
                "reviewed_by": reviewer,
                "corrected_answer": corrected,
            }
            connection.execute(update(_feedback).where(this).values(**values))
        return _stored({**row, **values})

    def counts(self, latest: int) -> FeedbackCounts:
        """Counts, for the retraining.

        Args:
            latest: items among which bad ratings are counted.
        """
        recent = select(_feedback.c.id, _feedback.c.rating).order_by(_feedback.c.at.desc()).limit(latest)
        with self._engine.connect() as connection:
            rows = connection.execute(recent).all()
            given = connection.execute(select(func.count()).select_from(_feedback)).scalar_one()
            accepted = connection.execute(
                select(func.count()).select_from(_feedback).where(_feedback.c.state == "accepted")
            ).scalar_one()
        bad = sum(row.rating == "down" for row in rows)
        return FeedbackCounts(given, accepted, bad, rows[0].id if rows else "")

    def export(self) -> list[FeedbackItem]:
        """What was accepted, oldest first."""
        return [
            FeedbackItem.model_validate(row.model_dump(include=set(FeedbackItem.model_fields)))
            for row in self.listed("accepted", 100_000)
        ]

    def erase(self, owner: str) -> int:
        """Delete all feedback of a key; how much there was."""
        with self._engine.begin() as connection:
            return connection.execute(delete(_feedback).where(_feedback.c.owner == owner)).rowcount


def _stored(row: Any) -> StoredFeedback:
    return StoredFeedback(**{name: row[name] for name in StoredFeedback.model_fields})
