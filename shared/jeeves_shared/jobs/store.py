"""Jobs and their events in SQL: SQLite by default, PostgreSQL by address."""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import RowMapping, make_url

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.jobs import FINAL_STATES, Job, JobEvent, JobProgress, JobState
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.errors import Conflict, NotFound

Reuse = Literal["always", "in-flight"]
"""When an equal request returns the existing job: also after it succeeded, or only while it is queued or running."""

_metadata = MetaData()
_jobs = Table(
    "jobs",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(40), nullable=False, index=True),
    Column("state", String(12), nullable=False, index=True),
    Column("attempt", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("request", JSON, nullable=False),
    Column("input_sha256", String(64), nullable=False, index=True),
    Column("idempotency_key", String(200), nullable=True, unique=True),
    Column("progress", JSON, nullable=False),
    Column("result", JSON, nullable=True),
    Column("error", JSON, nullable=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=True),
    Column("finished_at", DateTime(timezone=True), nullable=True),
)
_events = Table(
    "job_events",
    _metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(32), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("type", String(10), nullable=False),
    Column("data", JSON, nullable=False),
)


def open_database(url: str) -> Engine:
    """Connect to a database; an SQLite file gets its folder, write-ahead log and a busy timeout.

    Args:
        url: SQLAlchemy address.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return engine


@dataclass(frozen=True)
class Submission:
    """A job and whether this request created it."""

    job: Job
    created: bool


class JobStore:
    """All jobs of one service.

    Args:
        engine: from `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _metadata.create_all(engine)

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        reuse: Reuse,
        idempotency_key: str | None = None,
        usable: Callable[[Job], bool] = lambda _: True,
    ) -> Submission:
        """Queue a job, or find the one that an equal request made.

        Args:
            kind: resource name, such as `trainings`.
            request: the JSON body.
            reuse: which jobs of equal input are returned instead of a new one.
            idempotency_key: the client's key, if it sent one.
            usable: tells whether the result of a succeeded job can still be used; else a new job is made.

        Raises:
            Conflict: the key was used for another request.
        """
        digest = content_hash({"kind": kind, "request": request})
        states = ("queued", "running", "succeeded") if reuse == "always" else ("queued", "running")
        with self._engine.begin() as connection:
            if idempotency_key:
                row = _first(connection, select(_jobs).where(_jobs.c.idempotency_key == idempotency_key))
                if row is not None:
                    if row["input_sha256"] != digest:
                        raise Conflict("This Idempotency-Key was used for another request: send a new key.")
                    return Submission(_job(row), created=False)
            row = _first(
                connection,
                select(_jobs)
                .where(_jobs.c.kind == kind, _jobs.c.input_sha256 == digest, _jobs.c.state.in_(states))
                .order_by(_jobs.c.created_at.desc()),
            )
            if row is not None and (row["state"] != "succeeded" or usable(_job(row))):
                return Submission(_job(row), created=False)
            job_id = uuid.uuid4().hex
            values = {
                "id": job_id,
                "kind": kind,
                "state": "queued",
                "attempt": 0,
                "crashes": 0,
                "cancel_requested": False,
                "request": dict(request),
                "input_sha256": digest,
                "idempotency_key": idempotency_key or None,
                "progress": JobProgress().model_dump(mode="json"),
                "created_at": _now(),
            }
            connection.execute(insert(_jobs).values(**values))
            _add_event(connection, job_id, "state", {"state": "queued"})
            row = _first(connection, select(_jobs).where(_jobs.c.id == job_id))
            assert row is not None
            return Submission(_job(row), created=True)

    def get(self, job_id: str, kind: str | None = None) -> Job:
        """A job.

        Args:
            job_id: of the job.
            kind: the kind that it must have; None for any.

        Raises:
            NotFound: no such job, or one of another kind.
        """
        job = _job(self._row(job_id))
        if kind is not None and job.kind != kind:
            raise NotFound(f"No job {job_id} among the {kind}.")
        return job

    def crashes(self, job_id: str) -> int:
        """How many processes of a job ended without being told to.

        Raises:
            NotFound: no such job.
        """
        return int(self._row(job_id)["crashes"])

    def request(self, job_id: str) -> dict[str, Any]:
        """The JSON body that a job was created with.

        Raises:
            NotFound: no such job.
        """
        return dict(self._row(job_id)["request"])

    def latest(self, kind: str, limit: int = 50) -> list[Job]:
        """The latest jobs of a kind, newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(_jobs).where(_jobs.c.kind == kind).order_by(_jobs.c.created_at.desc()).limit(limit)
            )
            return [_job(row) for row in rows.mappings()]

    def count(self) -> dict[tuple[str, str], int]:
        """Number of jobs by kind and state."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(_jobs.c.kind, _jobs.c.state, func.count()).group_by(_jobs.c.kind, _jobs.c.state)
            )
            return {(kind, state): number for kind, state, number in rows}

    def claim(self, kinds: Collection[str]) -> Job | None:
        """Take the oldest queued job to run it now; None if there is none. Only one caller gets it.

        Args:
            kinds: those that the caller runs; services may share one database.
        """
        with self._engine.begin() as connection:
            row = _first(
                connection,
                select(_jobs)
                .where(_jobs.c.state == "queued", _jobs.c.kind.in_(kinds))
                .order_by(_jobs.c.created_at)
                .limit(1),
            )
            if row is None:
                return None
            taken = connection.execute(
                update(_jobs)
                .where(_jobs.c.id == row["id"], _jobs.c.state == "queued")
                .values(
                    state="running", attempt=_jobs.c.attempt + 1, started_at=func.coalesce(_jobs.c.started_at, _now())
                )
            )
            if taken.rowcount != 1:
                return None
            _add_event(connection, row["id"], "state", {"state": "running", "attempt": row["attempt"] + 1})
        return self.get(row["id"])

    def running(self, kinds: Collection[str]) -> list[Job]:
        """Jobs of these kinds that are marked as running."""
        statement = select(_jobs).where(_jobs.c.state == "running", _jobs.c.kind.in_(kinds))
        with self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(statement).mappings()]

    def requeue(self, job_id: str, reason: str, crashed: bool = True) -> None:
        """Put a running job, whose process is gone, back into the queue; end it there if its cancel was asked for.

        Args:
            job_id: of the job.
            reason: for those who follow it.
            crashed: False when the process was told to stop, which says nothing against the job.
        """
        with self._engine.begin() as connection:
            gone = update(_jobs).where(_jobs.c.id == job_id, _jobs.c.state == "running")
            cancelled = connection.execute(
                gone.where(_jobs.c.cancel_requested.is_(True)).values(state="cancelled", finished_at=_now())
            )
            if cancelled.rowcount == 1:
                _add_event(connection, job_id, "state", {"state": "cancelled"})
                return
            changed = connection.execute(gone.values(state="queued", crashes=_jobs.c.crashes + int(crashed)))
            if changed.rowcount == 1:
                _add_event(connection, job_id, "state", {"state": "queued", "reason": reason})

    def finish(
        self,
        job_id: str,
        state: JobState,
        result: dict[str, Any] | None = None,
        error: Problem | None = None,
    ) -> bool:
        """Write the final state, once; a later call changes nothing.

        Returns:
            True if this call was the one that finished the job.
        """
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(_jobs)
                .where(_jobs.c.id == job_id, _jobs.c.state.not_in(FINAL_STATES))
                .values(
                    state=state,
                    result=result,
                    error=error.model_dump(mode="json") if error else None,
                    finished_at=_now(),
                )
            )
            if changed.rowcount == 1:
                data: dict[str, Any] = {"state": state}
                if error:
                    data["error"] = error.model_dump(mode="json")
                _add_event(connection, job_id, "state", data)
            return changed.rowcount == 1

    def request_cancel(self, job_id: str) -> Job:
        """Ask for the end of a job: a queued one ends here, a running one is told by the supervisor.

        Raises:
            NotFound: no such job.
        """
        self._row(job_id)
        with self._engine.begin() as connection:
            connection.execute(
                update(_jobs)
                .where(_jobs.c.id == job_id, _jobs.c.state.not_in(FINAL_STATES))
                .values(cancel_requested=True)
            )
            ended = connection.execute(
                update(_jobs)
                .where(_jobs.c.id == job_id, _jobs.c.state == "queued")
                .values(state="cancelled", finished_at=_now())
            )
            if ended.rowcount == 1:
                _add_event(connection, job_id, "state", {"state": "cancelled"})
        return self.get(job_id)

    def cancel_requested(self, job_id: str) -> bool:
        """True if someone asked for the end of this job."""
        return bool(self._row(job_id)["cancel_requested"])

    def report(self, job_id: str, progress: JobProgress) -> None:
        """Store progress and tell it to those who listen."""
        data = progress.model_dump(mode="json")
        with self._engine.begin() as connection:
            connection.execute(update(_jobs).where(_jobs.c.id == job_id).values(progress=data))
            _add_event(connection, job_id, "progress", data)

    def log(self, job_id: str, level: str, message: str) -> None:
        """Append a log line of a job."""
        with self._engine.begin() as connection:
            _add_event(connection, job_id, "log", {"level": level, "message": message})

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Events of a job with a sequence number above `after`, in order."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(_events)
                .where(_events.c.job_id == job_id, _events.c.sequence > after)
                .order_by(_events.c.sequence)
                .limit(limit)
            )
            return [
                JobEvent(sequence=row["sequence"], at=_utc(row["at"]), type=row["type"], data=row["data"])
                for row in rows.mappings()
            ]

    def _row(self, job_id: str) -> RowMapping:
        with self._engine.connect() as connection:
            row = _first(connection, select(_jobs).where(_jobs.c.id == job_id))
        if row is None:
            raise NotFound(f"No job {job_id}.")
        return row


def _first(connection: Connection, statement: Any) -> RowMapping | None:
    return connection.execute(statement).mappings().first()


def _add_event(connection: Connection, job_id: str, kind: str, data: dict[str, Any]) -> None:
    connection.execute(insert(_events).values(job_id=job_id, at=_now(), type=kind, data=data))


def _now() -> datetime:
    return datetime.now(UTC)


def _utc(value: datetime) -> datetime:
    # SQLite gives naive times back; all of ours are UTC.
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        attempt=row["attempt"],
        progress=JobProgress.model_validate(row["progress"]),
        result=row["result"],
        error=Problem.model_validate(row["error"]) if row["error"] else None,
        created_at=_utc(row["created_at"]),
        started_at=_utc(row["started_at"]) if row["started_at"] else None,
        finished_at=_utc(row["finished_at"]) if row["finished_at"] else None,
    )
