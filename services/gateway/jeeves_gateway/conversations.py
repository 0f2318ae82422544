"""Conversations kept by the gateway, each private to the key that began it."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import (
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from jeeves_gateway.openai_form import ChatMessage
from jeeves_shared.contracts.base import Contract
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import create_tables

CONVERSATIONS_MAX = 1000
"""Of one key; the oldest goes when another is begun."""
MESSAGES_MAX = 400
TITLE_CHARACTERS_MAX = 120

_metadata = MetaData()
_conversations = Table(
    "conversations",
    _metadata,
    Column("id", String(40), primary_key=True),
    Column("owner", String(100), nullable=False, index=True),
    Column("title", String(TITLE_CHARACTERS_MAX), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, index=True),
)
_messages = Table(
    "conversation_messages",
    _metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("conversation_id", String(40), nullable=False, index=True),
    Column("role", String(12), nullable=False),
    Column("content", Text, nullable=False),
    Column("response_id", String(64), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)


class Conversation(Contract):
    """A conversation, without its messages."""

    id: str
    title: str = Field(max_length=TITLE_CHARACTERS_MAX)
    created_at: datetime
    updated_at: datetime


class SaidMessage(Contract):
    """A message of a conversation."""

    role: str
    content: str
    response_id: str
    at: datetime


class ConversationExport(Contract):
    """`GET /v1/conversations/{id}`: all of it."""

    conversation: Conversation
    messages: tuple[SaidMessage, ...]


class Conversations:
    """All conversations. Every method may block: call it from a thread.

    Args:
        engine: from `jeeves_shared.jobs.store.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, _metadata)

    def begin(self, owner: str, title: str) -> Conversation:
        """A new conversation."""
        now = datetime.now(UTC)
        made = Conversation(id=f"conv-{uuid.uuid4().hex}", title=title, created_at=now, updated_at=now)
        with self._engine.begin() as connection:
            mine = _conversations.c.owner == owner
            surplus = (
                select(_conversations.c.id)
                .where(mine)
                .order_by(_conversations.c.updated_at.desc())
                .offset(CONVERSATIONS_MAX - 1)
            )
            self._delete(connection, [row.id for row in connection.execute(surplus)])
            connection.execute(insert(_conversations).values(owner=owner, **made.model_dump()))
        return made

    def listed(self, owner: str) -> list[Conversation]:
        """The conversations of a key, latest first."""
        query = select(_conversations).where(_conversations.c.owner == owner)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(_conversations.c.updated_at.desc())).mappings().all()
        return [_conversation(row) for row in rows]

    def export(self, conversation_id: str, owner: str) -> ConversationExport:
        """A conversation with its messages, oldest first.

        Raises:
            NotFound: no such conversation of this key.
        """
        found = self._owned(conversation_id, owner)
        query = select(_messages).where(_messages.c.conversation_id == conversation_id).order_by(_messages.c.sequence)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        said = tuple(SaidMessage(**{name: row[name] for name in SaidMessage.model_fields}) for row in rows)
        return ConversationExport(conversation=found, messages=said)

    def history(self, conversation_id: str, owner: str) -> list[ChatMessage]:
        """What was said, for the next question.

        Raises:
            NotFound: no such conversation of this key.
            Conflict: it is full.
        """
        messages = self.export(conversation_id, owner).messages
        if len(messages) >= MESSAGES_MAX:
            raise Conflict(f"The conversation has {MESSAGES_MAX} messages: begin a new one.")
        return [ChatMessage.model_validate({"role": said.role, "content": said.content}) for said in messages]

    def add(self, conversation_id: str, owner: str, question: str, answer: str, response_id: str) -> None:
        """Append an exchange; the first question becomes the title of a conversation without one. Gone: nothing."""
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            mine = (_conversations.c.id == conversation_id) & (_conversations.c.owner == owner)
            row = connection.execute(select(_conversations.c.title).where(mine)).one_or_none()
            if row is None:
                return
            title = row.title or " ".join(question.split())[:TITLE_CHARACTERS_MAX]
            connection.execute(update(_conversations).where(mine).values(updated_at=now, title=title))
            both: Sequence[tuple[str, str]] = (("user", question), ("assistant", answer))
            for role, content in both:
                connection.execute(
                    insert(_messages).values(
                        conversation_id=conversation_id, role=role, content=content, response_id=response_id, at=now
                    )
                )

    def rename(self, conversation_id: str, owner: str, title: str) -> Conversation:
        """Give a conversation another title.

        Raises:
            NotFound: no such conversation of this key.
        """
        self._owned(conversation_id, owner)
        with self._engine.begin() as connection:
            mine = _conversations.c.id == conversation_id
            connection.execute(update(_conversations).where(mine).values(title=title))
        return self._owned(conversation_id, owner)

    def delete(self, conversation_id: str, owner: str) -> None:
        """Delete a conversation and all that was said in it.

        Raises:
            NotFound: no such conversation of this key.
        """
        self._owned(conversation_id, owner)
        with self._engine.begin() as connection:
            self._delete(connection, [conversation_id])

    def erase(self, owner: str) -> int:
        """Delete all conversations of a key; how many there were."""
        with self._engine.begin() as connection:
            ids = [
                row.id for row in connection.execute(select(_conversations.c.id).where(_conversations.c.owner == owner))
            ]
            self._delete(connection, ids)
        return len(ids)

    def forget(self, older_than_days: int) -> int:
        """Delete conversations that were not continued for so long; how many there were."""
        limit = datetime.now(UTC) - timedelta(days=older_than_days)
        with self._engine.begin() as connection:
            old = select(_conversations.c.id).where(_conversations.c.updated_at < limit)
            ids = [row.id for row in connection.execute(old)]
            self._delete(connection, ids)
        return len(ids)

    def count(self) -> int:
        """All conversations of all keys."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(_conversations)).scalar_one())

    @staticmethod
    def _delete(connection: Any, ids: Sequence[str]) -> None:
        if ids:
            connection.execute(delete(_messages).where(_messages.c.conversation_id.in_(ids)))
            connection.execute(delete(_conversations).where(_conversations.c.id.in_(ids)))

    def _owned(self, conversation_id: str, owner: str) -> Conversation:
        mine = (_conversations.c.id == conversation_id) & (_conversations.c.owner == owner)
        with self._engine.connect() as connection:
            row = connection.execute(select(_conversations).where(mine)).mappings().one_or_none()
        if row is None:
            # The same whether it is another key's or nobody's.
            raise NotFound(f"No conversation {conversation_id[:60]}: GET /v1/conversations lists yours.")
        return _conversation(row)


def _conversation(row: Any) -> Conversation:
    return Conversation(**{name: row[name] for name in Conversation.model_fields})
