"""The tables of jobs and their events."""

from sqlalchemy import JSON, Boolean, Column, DateTime, Integer, MetaData, String, Table

METADATA = MetaData()
JOBS = Table(
    "jobs",
    METADATA,
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
EVENTS = Table(
    "job_events",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(32), nullable=False, index=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("type", String(10), nullable=False),
    Column("data", JSON, nullable=False),
)
