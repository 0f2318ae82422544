"""`POST /v1/diagnose`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from jeeves_gateway.bodies import body_blocks
from jeeves_gateway.chat import ClientGone, unless_gone
from jeeves_gateway.diagnosis.console import LOG_BYTES_MAX
from jeeves_gateway.diagnosis.diagnoser import Diagnoser, question_about, read_log
from jeeves_gateway.diagnosis.uploads import file_blocks
from jeeves_gateway.errors import BadChatRequest, Unavailable
from jeeves_gateway.exchange import keep_lineage
from jeeves_gateway.feedback import GivenAnswer
from jeeves_gateway.keys import Caller, require
from jeeves_gateway.parts import Parts
from jeeves_shared.contracts.diagnosis import Diagnosis, DiagnosisPreview

_JSON_BYTES_MAX = 64 * 1024
_READERS = 2
"""Logs that are read at the same time: reading is computing, and chats need the processor too."""
DIAGNOSE_BYTES_MAX = LOG_BYTES_MAX + 4096
"""A log with the framing of a form around it."""
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/gzip": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
            "application/json": {"schema": {"type": "object", "properties": {"build_url": {"type": "string"}}}},
        },
    }
}
Caller_ = Annotated[Caller, Depends(require("diagnose"))]


def diagnose_router(parts: Parts) -> APIRouter:
    """The route for console logs."""
    router = APIRouter(tags=["diagnose"])
    diagnoser = Diagnoser(parts.answerer)
    readers = asyncio.Semaphore(_READERS)

    @router.post(
        "/v1/diagnose",
        summary="Cause, evidence, fix and sources for a failed build's console log",
        response_model=Diagnosis | DiagnosisPreview,
        openapi_extra=_BODY,
    )
    async def diagnose(
        request: Request,
        caller: Caller_,
        preview: Annotated[bool, Query(description="Only show what a model would see.")] = False,
    ) -> Response:
        parts.features.require("diagnose")
        await parts.limits.admit(caller, (await parts.budgets.limits(caller)).requests_per_minute)
        if parts.switch.rung() == "unavailable":
            raise Unavailable("The operator has switched answers off for now.", 60)
        try:
            async with readers:
                log = await read_log(await _blocks(request, parts))
            if preview:
                return JSONResponse((await diagnoser.preview(log)).model_dump(mode="json"))
            done = await unless_gone(request, diagnoser.diagnose(log, caller.id))
        except (ClientGone, ClientDisconnect):
            return Response(status_code=499)
        if done.outcome is not None:
            await keep_lineage(done.outcome, caller.id, parts)
            given = GivenAnswer(caller.id, question_about(log.findings), done.outcome.text)
            parts.recent.add(done.diagnosis.id, given)
        return JSONResponse(done.diagnosis.model_dump(mode="json"), headers={"X-Jeeves-Rung": done.diagnosis.rung})

    return router


async def _blocks(request: Request, parts: Parts) -> AsyncIterator[bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        body = body_blocks(request, DIAGNOSE_BYTES_MAX)
        return file_blocks(body, request.headers["content-type"])
    if kind == "application/json":
        text = b"".join([block async for block in body_blocks(request, _JSON_BYTES_MAX)])
        return parts.build_logs.blocks(_build_url(text))
    return body_blocks(request, LOG_BYTES_MAX)


def _build_url(body: bytes) -> str:
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadChatRequest("The body is not JSON: send a log as text/plain, or JSON with build_url.") from exc
    url = data.get("build_url") if isinstance(data, dict) else None
    if not isinstance(url, str):
        raise BadChatRequest("JSON needs the field build_url; a log itself is sent as text/plain.", "build_url")
    return url
