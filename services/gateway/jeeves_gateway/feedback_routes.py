"""`/v1/feedback`, and its review and export for operators."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from jeeves_gateway.feedback import FeedbackRequest, FeedbackReview, GivenAnswer, State, StoredFeedback
from jeeves_gateway.keys import Caller, require
from jeeves_gateway.parts import Parts
from jeeves_shared.errors import Conflict

Giver = Annotated[Caller, Depends(require("feedback"))]
Admin = Annotated[Caller, Depends(require("admin"))]


def feedback_router(parts: Parts) -> APIRouter:
    """Routes of feedback."""
    router = APIRouter(tags=["feedback"])

    @router.post("/v1/feedback", summary="Rate an answer, correct it, say what came of it", status_code=201)
    async def give(body: FeedbackRequest, caller: Giver) -> StoredFeedback:
        parts.features.require("feedback")
        await parts.limits.admit(caller)
        given = await _given(body, caller, parts)
        stored = await asyncio.to_thread(parts.feedback.add, body, given)
        if given.model_id and parts.recent.first_rating(body.response_id):
            parts.room.canary.observe(given.model_id, body.rating == "down")
        parts.metrics.feedback.labels(body.rating).inc()
        return stored

    @router.get("/v1/admin/feedback", summary="Feedback to review, oldest first")
    async def listed(caller: Admin, state: State | None = None) -> list[StoredFeedback]:
        return await asyncio.to_thread(parts.feedback.listed, state)

    @router.post("/v1/admin/feedback/{feedback_id}/review", summary="Accept or reject feedback")
    async def review(feedback_id: str, body: FeedbackReview, caller: Admin) -> StoredFeedback:
        return await asyncio.to_thread(parts.feedback.review, feedback_id, body, caller.id)

    @router.get("/v1/admin/feedback/export", summary="Accepted feedback as JSON Lines, for the collector")
    async def export(caller: Admin) -> Response:
        items = await asyncio.to_thread(parts.feedback.export)
        text = "".join(f"{item.model_dump_json()}\n" for item in items)
        return Response(text, media_type="application/x-ndjson")

    return router


async def _given(body: FeedbackRequest, caller: Caller, parts: Parts) -> GivenAnswer:
    found = parts.recent.find(body.response_id, caller.id)
    if found is not None:
        return found
    await asyncio.to_thread(parts.record.response, body.response_id, caller.id)
    if not body.question or not body.answer:
        raise Conflict("The gateway no longer remembers this answer: send question and answer with the feedback.")
    return GivenAnswer(caller.id, body.question, body.answer)
