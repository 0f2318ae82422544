"""What the gateway remembers, in SQL: what it serves, its keys, the lineage of its answers, what operators did.

Never a question, never an answer, never a key: of keys only their sha256.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.engine import RowMapping

from jeeves_shared.errors import NotFound
from jeeves_shared.jobs.store import create_tables

ServedKind = Literal["champion", "previous", "index", "rung", "switches", "retraining"]

_metadata = MetaData()
_served = Table(
    "served",
    _metadata,
    Column("kind", String(12), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
)
_keys = Table(
    "api_keys",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", String(100), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("revoked", Boolean, nullable=False, default=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
_responses = Table(
    "responses",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("lineage", JSON, nullable=False),
)
_audit = Table(
    "audit",
    _metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(40), nullable=False),
    Column("detail", JSON, nullable=False),
)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, without the key."""

    id: str
    name: str
    scopes: tuple[str, ...]
    revoked: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ResponseRow:
    """What stands behind an answer."""

    id: str
    at: datetime
    lineage: Mapping[str, Any]


class GatewayRecord:
    """The gateway's tables. Every method may block: call it from a thread.

    Args:
        engine: from `jeeves_shared.jobs.store.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, _metadata)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def served(self, kind: ServedKind) -> dict[str, Any] | None:
        """What is recorded under a kind; None if nothing is."""
        with self._engine.connect() as connection:
            found = connection.execute(select(_served.c.document).where(_served.c.kind == kind)).scalar_one_or_none()
        return None if found is None else dict(found)

    def set_served(self, documents: Mapping[ServedKind, Mapping[str, Any] | None], actor: str, action: str) -> None:
        """Record what is served now, all kinds in one transaction, with a line in the audit trail.

        Args:
            documents: by kind; None forgets the kind.
            actor: id of the key that asked for it.
            action: name for the audit trail.
        """
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            for kind, document in documents.items():
                connection.execute(delete(_served).where(_served.c.kind == kind))
                if document is not None:
                    connection.execute(insert(_served).values(kind=kind, document=dict(document), at=now))
            detail = {kind: _summary(document) for kind, document in documents.items()}
            connection.execute(insert(_audit).values(at=now, actor=actor, action=action, detail=detail))

    def add_key(self, key_id: str, sha256: str, name: str, scopes: tuple[str, ...], actor: str) -> KeyRow:
        """Store a new key."""
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            connection.execute(
                insert(_keys).values(
                    id=key_id, sha256=sha256, name=name, scopes=list(scopes), revoked=False, created_at=now
                )
            )
            detail = {"id": key_id, "name": name, "scopes": list(scopes)}
            connection.execute(insert(_audit).values(at=now, actor=actor, action="key-created", detail=detail))
        return KeyRow(key_id, name, scopes, revoked=False, created_at=now)

    def find_key(self, sha256: str) -> KeyRow | None:
        """The key with that hash, if it is not revoked."""
        query = select(_keys).where(_keys.c.sha256 == sha256, _keys.c.revoked.is_(False))
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _key_row(row)

    def list_keys(self) -> list[KeyRow]:
        """All keys, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_keys).order_by(_keys.c.created_at)).mappings().all()
        return [_key_row(row) for row in rows]

    def revoke_key(self, key_id: str, actor: str) -> KeyRow:
        """Make a key useless. Doing it again changes nothing.

        Raises:
            NotFound: no such key.
        """
        with self._engine.begin() as connection:
            row = connection.execute(select(_keys).where(_keys.c.id == key_id)).mappings().one_or_none()
            if row is None:
                raise NotFound(f"No key {key_id}: GET /v1/admin/keys lists them.")
            connection.execute(update(_keys).where(_keys.c.id == key_id).values(revoked=True))
            connection.execute(
                insert(_audit).values(at=datetime.now(UTC), actor=actor, action="key-revoked", detail={"id": key_id})
            )
        return _key_row({**row, "revoked": True})

    def add_responses(self, rows: Sequence[ResponseRow]) -> None:
        """Store the lineage of answers, in one transaction."""
        values = [{"id": row.id, "at": row.at, "lineage": dict(row.lineage)} for row in rows]
        with self._engine.begin() as connection:
            connection.execute(insert(_responses), values)

    def response(self, response_id: str, owner: str = "") -> dict[str, Any]:
        """The lineage of an answer.

        Args:
            response_id: of the answer.
            owner: the key that it must have gone to; empty for any.

        Raises:
            NotFound: no such response of this key, or older than the retention time.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(_responses).where(_responses.c.id == response_id)).mappings().one_or_none()
        # The same whether it is another key's or nobody's.
        if row is None or (owner and row["lineage"].get("owner", owner) != owner):
            raise NotFound(f"No response {response_id[:60]} of yours is on record.")
        lineage = {name: value for name, value in row["lineage"].items() if name != "owner"}
        return {"response_id": row["id"], "at": row["at"], **lineage}

    def forget_responses(self, older_than_days: int) -> int:
        """Delete old lineage; returns how many rows."""
        limit = datetime.now(UTC) - timedelta(days=older_than_days)
        with self._engine.begin() as connection:
            return connection.execute(delete(_responses).where(_responses.c.at < limit)).rowcount

    def note(self, actor: str, action: str, detail: Mapping[str, Any]) -> None:
        """A line in the audit trail."""
        with self._engine.begin() as connection:
            connection.execute(
                insert(_audit).values(at=datetime.now(UTC), actor=actor, action=action, detail=dict(detail))
            )

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """What operators did, newest first."""
        query = select(_audit).order_by(_audit.c.sequence.desc()).limit(limit)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def _key_row(row: RowMapping | Mapping[str, Any]) -> KeyRow:
    return KeyRow(row["id"], row["name"], tuple(row["scopes"]), row["revoked"], row["created_at"])


def _summary(document: Mapping[str, Any] | None) -> Any:
    """What the audit trail keeps of a document: manifests are long, their ids tell all."""
    if document is None:
        return None
    inner = document.get("model") or document.get("index")
    if isinstance(inner, Mapping):
        return {"id": inner.get("id"), "quantization": document.get("quantization")}
    return dict(document)
