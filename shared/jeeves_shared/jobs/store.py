"""Jobs and their events in SQL: SQLite by default, PostgreSQL by address."""

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, func, insert, select, update
from sqlalchemy.engine import RowMapping, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError

from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.jobs import FINAL_STATES, Job, JobEvent, JobProgress, JobState
from jeeves_shared.contracts.problems import Problem
from jeeves_shared.errors import Conflict, NotFound, NotReady
from jeeves_shared.jobs.tables import EVENTS, JOBS, METADATA
from jeeves_shared.write_ahead import use_write_ahead_log

Reuse = Literal["always", "in-flight"]
"""When an equal request returns the existing job: also after it succeeded, or only while it is queued or running."""


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
        use_write_ahead_log(connection)

    return engine


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Make the tables that are missing. Other processes may be doing so: replicas start together on a new database.

    Args:
        engine: from `open_database`.
        metadata: of the tables.

    Raises:
        NotReady: the database does not answer.
    """
    clashes = 0
    while True:
        try:
            metadata.create_all(engine)
            return
        except DBAPIError as exc:
            # Another process made one between this one's look and its own making; PostgreSQL then breaks a key of its
            # own catalogue. Each table can do so once.
            clashes += 1
            clashed = isinstance(exc, IntegrityError) or "already exists" in str(exc.orig)
            if clashed and clashes <= 2 * len(metadata.tables):
                continue
            address = engine.url.render_as_string(hide_password=True)
            raise NotReady(
                f"The database {address} cannot be used ({exc.orig}): start it, or correct JEEVES_DATABASE_URL."
            ) from exc


@dataclass(frozen=True)
class Submission:
    """A job and whether this request created it."""

    job: Job
    created: bool


class JobStore:
    """All jobs of one service.

    Args:
        engine: from `open_database`.

    Raises:
        NotReady: the database does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        create_tables(engine, METADATA)

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
        with self._engine.begin() as connection:
            if idempotency_key:
                row = _first(connection, select(JOBS).where(JOBS.c.idempotency_key == idempotency_key))
                if row is not None:
                    if row["input_sha256"] != digest:
                        raise Conflict("This Idempotency-Key was used for another request: send a new key.")
                    return Submission(_job(row), created=False)
            equal = _equal_job(connection, kind, digest, reuse)
            if equal is not None and (equal.state != "succeeded" or usable(equal)):
                return Submission(equal, created=False)
            return Submission(_new_job(connection, kind, request, digest, idempotency_key), created=True)

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
                select(JOBS).where(JOBS.c.kind == kind).order_by(JOBS.c.created_at.desc()).limit(limit)
            )
            return [_job(row) for row in rows.mappings()]

    def count(self) -> dict[tuple[str, str], int]:
        """Number of jobs by kind and state."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(JOBS.c.kind, JOBS.c.state, func.count()).group_by(JOBS.c.kind, JOBS.c.state)
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
                select(JOBS)
                .where(JOBS.c.state == "queued", JOBS.c.kind.in_(kinds))
                .order_by(JOBS.c.created_at)
                .limit(1),
            )
            if row is None:
                return None
            taken = connection.execute(
                update(JOBS)
                .where(JOBS.c.id == row["id"], JOBS.c.state == "queued")
                .values(
                    state="running", attempt=JOBS.c.attempt + 1, started_at=func.coalesce(JOBS.c.started_at, _now())
                )
            )
            if taken.rowcount != 1:
                return None
            _add_event(connection, row["id"], "state", {"state": "running", "attempt": row["attempt"] + 1})
        return self.get(row["id"])

    def running(self, kinds: Collection[str]) -> list[Job]:
        """Jobs of these kinds that are marked as running."""
        statement = select(JOBS).where(JOBS.c.state == "running", JOBS.c.kind.in_(kinds))
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
            gone = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state == "running")
            cancelled = connection.execute(
                gone.where(JOBS.c.cancel_requested.is_(True)).values(state="cancelled", finished_at=_now())
            )
            if cancelled.rowcount == 1:
                _add_event(connection, job_id, "state", {"state": "cancelled"})
                return
            changed = connection.execute(gone.values(state="queued", crashes=JOBS.c.crashes + int(crashed)))
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
                update(JOBS)
                .where(JOBS.c.id == job_id, JOBS.c.state.not_in(FINAL_STATES))
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
                update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state.not_in(FINAL_STATES)).values(cancel_requested=True)
            )
            ended = connection.execute(
                update(JOBS)
                .where(JOBS.c.id == job_id, JOBS.c.state == "queued")
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
            connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(progress=data))
            _add_event(connection, job_id, "progress", data)

    def log(self, job_id: str, level: str, message: str) -> None:
        """Append a log line of a job."""
        with self._engine.begin() as connection:
            _add_event(connection, job_id, "log", {"level": level, "message": message})

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> list[JobEvent]:
        """Events of a job with a sequence number above `after`, in order."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(EVENTS)
                .where(EVENTS.c.job_id == job_id, EVENTS.c.sequence > after)
                .order_by(EVENTS.c.sequence)
                .limit(limit)
            )
            return [
                JobEvent(sequence=row["sequence"], at=_utc(row["at"]), type=row["type"], data=row["data"])
                for row in rows.mappings()
            ]

    def _row(self, job_id: str) -> RowMapping:
        with self._engine.connect() as connection:
            row = _first(connection, select(JOBS).where(JOBS.c.id == job_id))
        if row is None:
            raise NotFound(f"No job {job_id}.")
        return row


def _first(connection: Connection, statement: Any) -> RowMapping | None:
    return connection.execute(statement).mappings().first()


def _equal_job(connection: Connection, kind: str, digest: str, reuse: Reuse) -> Job | None:
    states = ("queued", "running", "succeeded") if reuse == "always" else ("queued", "running")
    row = _first(
        connection,
        select(JOBS)
        .where(JOBS.c.kind == kind, JOBS.c.input_sha256 == digest, JOBS.c.state.in_(states))
        .order_by(JOBS.c.created_at.desc()),
    )
    return None if row is None else _job(row)


def _new_job(
    connection: Connection, kind: str, request: Mapping[str, Any], digest: str, idempotency_key: str | None
) -> Job:
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
    connection.execute(insert(JOBS).values(**values))
    _add_event(connection, job_id, "state", {"state": "queued"})
    row = _first(connection, select(JOBS).where(JOBS.c.id == job_id))
    assert row is not None
    return _job(row)


def _add_event(connection: Connection, job_id: str, kind: str, data: dict[str, Any]) -> None:
    connection.execute(insert(EVENTS).values(job_id=job_id, at=_now(), type=kind, data=data))


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
