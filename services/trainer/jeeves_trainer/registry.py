"""Model versions, their aliases and the audit trail, in the trainer's database.

A version's row is made before its files are (`reserve`), since the files carry the version inside; `register` completes
it. Only completed versions are visible. Each alias names at most one version of this installation: there is one
champion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from jeeves_shared.contracts.manifests import ModelAlias, ModelManifest
from jeeves_shared.contracts.requests import RegisteredModel
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import create_tables

_metadata = MetaData()
_models = Table(
    "models",
    _metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("version", Integer, nullable=False),
    Column("manifest", JSON(none_as_null=True), nullable=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("name", "version"),
)
_aliases = Table(
    "model_aliases",
    _metadata,
    Column("alias", String(20), primary_key=True),
    Column("model_id", String(64), nullable=False),
)
_audit = Table(
    "model_audit",
    _metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("who", String(120), nullable=False),
    Column("action", String(20), nullable=False),
    Column("model_id", String(64), nullable=False),
    Column("reason", String(1000), nullable=False),
)


@dataclass(frozen=True)
class AuditEntry:
    """One change of an alias: who did what to which version, when and why."""

    at: datetime
    who: str
    action: str
    model_id: str
    reason: str


class ModelRegistry:
    """Model versions of one installation.

    Args:
        engine: from `jeeves_shared.jobs.store.open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, _metadata)

    def reserve(self, model_id: str, name: str) -> int:
        """The version number of a model: the one that it has, or the next of its name, from 1 on.

        Args:
            model_id: identity of the manifest to come.
            name: such as `jeeves-smollm2-135m`.
        """
        with self._engine.begin() as connection:
            known = connection.execute(select(_models.c.version).where(_models.c.id == model_id)).scalar()
            if known is not None:
                return int(known)
            highest = connection.execute(select(func.max(_models.c.version)).where(_models.c.name == name)).scalar()
            version = int(highest or 0) + 1
            _insert_model(connection, model_id, name, version, None)
            return version

    def register(self, manifest: ModelManifest, who: str, reason: str) -> None:
        """Complete a version and make it the candidate. Doing so again changes nothing.

        Args:
            manifest: its id as in `reserve`.
            who: for the audit trail.
            reason: for the audit trail.
        """
        document = manifest.model_dump(mode="json")
        with self._engine.begin() as connection:
            row = connection.execute(select(_models).where(_models.c.id == manifest.id)).mappings().first()
            if row is not None and row["manifest"] is not None:
                return
            if row is None:
                _insert_model(connection, manifest.id, manifest.name, manifest.version, document)
            else:
                connection.execute(update(_models).where(_models.c.id == manifest.id).values(manifest=document))
            _set_alias(connection, "candidate", manifest.id)
            _add_audit(connection, who, "register", manifest.id, reason)

    def models(self) -> list[RegisteredModel]:
        """All versions, newest first."""
        with self._engine.connect() as connection:
            aliases = _all_aliases(connection)
            rows = connection.execute(
                select(_models.c.manifest)
                .where(_models.c.manifest.is_not(None))
                .order_by(_models.c.created_at.desc(), _models.c.version.desc())
            )
            return [_registered(manifest, aliases) for (manifest,) in rows]

    def get(self, model_id: str) -> RegisteredModel:
        """One version.

        Raises:
            NotFound: no such version.
        """
        with self._engine.connect() as connection:
            manifest = connection.execute(select(_models.c.manifest).where(_models.c.id == model_id)).scalar()
            if manifest is None:
                raise NotFound(f"No model version {model_id}: GET /v1/models lists them.")
            return _registered(manifest, _all_aliases(connection))

    def promote(self, model_id: str, who: str, reason: str) -> RegisteredModel:
        """Make a version the champion; the champion before it becomes `previous`. Doing so again changes nothing.

        Whether its evaluation allows that is for the caller to check.

        Raises:
            NotFound: no such version.
        """
        self.get(model_id)
        with self._engine.begin() as connection:
            aliases = _all_aliases(connection)
            champion = aliases.get("champion")
            if champion != model_id:
                if champion is not None:
                    _set_alias(connection, "previous", champion)
                _set_alias(connection, "champion", model_id)
                if aliases.get("candidate") == model_id:
                    connection.execute(delete(_aliases).where(_aliases.c.alias == "candidate"))
                _add_audit(connection, who, "promote", model_id, reason)
        return self.get(model_id)

    def rollback(self, who: str, reason: str) -> RegisteredModel:
        """Make the previous champion the champion again; the two change places, so that it can be undone.

        Raises:
            Conflict: there is no previous champion.
        """
        with self._engine.begin() as connection:
            aliases = _all_aliases(connection)
            champion, previous = aliases.get("champion"), aliases.get("previous")
            if champion is None or previous is None:
                raise Conflict("There is no previous champion to go back to: promote a second version first.")
            _set_alias(connection, "champion", previous)
            _set_alias(connection, "previous", champion)
            _add_audit(connection, who, "rollback", previous, reason)
        return self.get(previous)

    def audit(self, limit: int = 100) -> list[AuditEntry]:
        """The latest changes, newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(_audit).order_by(_audit.c.sequence.desc()).limit(limit)).mappings()
            return [
                AuditEntry(
                    at=row["at"].replace(tzinfo=row["at"].tzinfo or UTC),  # SQLite gives naive times back
                    who=row["who"],
                    action=row["action"],
                    model_id=row["model_id"],
                    reason=row["reason"],
                )
                for row in rows
            ]


def _insert_model(
    connection: Connection, model_id: str, name: str, version: int, manifest: dict[str, Any] | None
) -> None:
    connection.execute(
        insert(_models).values(id=model_id, name=name, version=version, manifest=manifest, created_at=datetime.now(UTC))
    )


def _all_aliases(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(_aliases.c.alias, _aliases.c.model_id))
    return {row.alias: row.model_id for row in rows}


def _set_alias(connection: Connection, alias: ModelAlias, model_id: str) -> None:
    changed = connection.execute(update(_aliases).where(_aliases.c.alias == alias).values(model_id=model_id))
    if changed.rowcount == 0:
        connection.execute(insert(_aliases).values(alias=alias, model_id=model_id))


def _add_audit(connection: Connection, who: str, action: str, model_id: str, reason: str) -> None:
    connection.execute(
        insert(_audit).values(at=datetime.now(UTC), who=who[:120], action=action, model_id=model_id, reason=reason)
    )


def _registered(manifest: Mapping[str, Any], aliases: Mapping[str, str]) -> RegisteredModel:
    model = ModelManifest.model_validate(manifest)
    names: tuple[ModelAlias, ...] = ("candidate", "champion", "previous")
    return RegisteredModel(manifest=model, aliases=tuple(name for name in names if aliases.get(name) == model.id))
