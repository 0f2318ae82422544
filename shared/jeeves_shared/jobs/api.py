"""The job resource over HTTP, the same for every kind: POST, list, GET, DELETE, events as SSE."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.jobs import FINAL_STATES, Job
from jeeves_shared.jobs.store import JobStore
from jeeves_shared.jobs.supervisor import JobKind

_POLL_SECONDS = 0.25

SILENCE_SECONDS = 30.0
"""A stream without events ends after this: who follows asks for the job again, and for what keeps it from going on."""


def job_router(
    kind: JobKind,
    request_type: type[Contract],
    jobs: JobStore,
    usable: Callable[[Job], bool] = lambda _: True,
) -> APIRouter:
    """Routes of one kind of job, below `/v1/<kind>`.

    Args:
        kind: name, function and reuse.
        request_type: body of POST.
        jobs: the tables.
        usable: tells whether the result of a job that succeeded earlier can still be given for an equal request.
    """
    router = APIRouter(prefix=f"/v1/{kind.name}", tags=[kind.name])

    async def create(
        body: Contract,
        response: Response,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> Job:
        submission = jobs.submit(kind.name, body.model_dump(mode="json"), kind.reuse, idempotency_key, usable)
        response.status_code = 202 if submission.created else 200
        response.headers["Location"] = f"/v1/{kind.name}/{submission.job.id}"
        return submission.job

    create.__annotations__["body"] = request_type
    router.add_api_route("", create, methods=["POST"], status_code=202, summary=f"Start a job of {kind.name}")

    @router.get("", summary=f"Latest jobs of {kind.name}")
    async def index() -> list[Job]:
        return jobs.latest(kind.name)

    @router.get("/{job_id}", summary="State of a job")
    async def read(job_id: str) -> Job:
        return jobs.get(job_id, kind.name)

    @router.delete("/{job_id}", status_code=202, summary="Cancel a job")
    async def cancel(job_id: str) -> Job:
        jobs.get(job_id, kind.name)
        return jobs.request_cancel(job_id)

    @router.get("/{job_id}/events", summary="Progress and log as server-sent events, from `Last-Event-ID` on")
    async def events(job_id: str, last_event_id: Annotated[int, Header(ge=0)] = 0) -> EventSourceResponse:
        jobs.get(job_id, kind.name)
        return EventSourceResponse(_follow(jobs, job_id, last_event_id))

    return router


async def _follow(jobs: JobStore, job_id: str, after: int) -> AsyncIterator[ServerSentEvent]:
    silent_since = time.monotonic()
    while True:
        # State first: what is written between the two reads is then still delivered.
        state = jobs.get(job_id).state
        batch = jobs.events(job_id, after)
        for item in batch:
            after = item.sequence
            yield ServerSentEvent(data=item.model_dump_json(), event=item.type, id=str(item.sequence))
        if batch:
            silent_since = time.monotonic()
        elif state in FINAL_STATES or time.monotonic() - silent_since > SILENCE_SECONDS:
            return
        await asyncio.sleep(_POLL_SECONDS)
