"""The OpenAI-compatible routes: `POST /v1/chat/completions` and `GET /v1/models`."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from jeeves_gateway.direct import DirectRoute
from jeeves_gateway.errors import UnknownModel
from jeeves_gateway.exchange import Exchange, begin_exchange, end_exchange
from jeeves_gateway.given import GIVEN_PREFIX
from jeeves_gateway.keys import require
from jeeves_gateway.openai_form import error_body, error_response, parse_chat_request
from jeeves_gateway.outcome import Event, Opened, Outcome, Text
from jeeves_gateway.parts import Parts
from jeeves_shared.errors import Forbidden, JeevesError

logger = logging.getLogger(__name__)
T = TypeVar("T")

MODEL_ALIAS = "jeeves"
"""Always names the model that serves, whichever that is."""
_ANY_MODEL = frozenset({"", MODEL_ALIAS, "champion", "default"})
_chat = require("chat")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def chat_router(parts: Parts) -> tuple[APIRouter, DirectRoute]:
    """The routes of OpenAI's API, and the one of them that is asked most."""
    router = APIRouter(tags=["chat"])

    @router.get("/v1/models", summary="The model that serves, under its alias and its own name")
    async def models(request: Request) -> Response:
        try:
            await _chat(request)
        except JeevesError as exc:
            return error_response(exc)
        served = parts.room.model
        names = [MODEL_ALIAS] + ([served.id] if served else [])
        data = [{"id": name, "object": "model", "created": parts.started_at, "owned_by": "jeeves"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    @router.post("/v1/chat/completions", summary="Answer a question from the sources, with citations")
    async def completions(request: Request) -> Response:
        try:
            caller = await _chat(request)
            await parts.limits.admit(caller, (await parts.budgets.limits(caller)).requests_per_minute)
            asked = parse_chat_request(await request.body())
            _check_model(asked.model, parts)
            if asked.jeeves.passages and "operate" not in caller.scopes:
                raise Forbidden("This key lacks the scope `operate`, which `jeeves.passages` needs: leave them out.")
            if asked.stream:
                parts.features.require("streaming")
            exchange = await begin_exchange(asked, caller, parts)
            return await (_streamed if asked.stream else _whole)(request, exchange, parts)
        except JeevesError as exc:
            return error_response(exc)
        except (ClientGone, ClientDisconnect):
            return Response(status_code=499)

    return router, DirectRoute("/v1/chat/completions", completions)


def _check_model(name: str, parts: Parts) -> None:
    if name in _ANY_MODEL:
        return
    served = parts.room.model
    if served is not None and name in (served.id, served.name):
        return
    there = f"`{MODEL_ALIAS}`" + (f" or `{served.id}`" if served else "")
    raise UnknownModel(f"The model `{name[:80]}` is not served: use {there}.", "model")


async def _whole(request: Request, exchange: Exchange, parts: Parts) -> Response:
    async def run() -> Outcome:
        async with aclosing(parts.answerer.answer(exchange.asked, owner=exchange.caller.id)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    return event
        raise AssertionError("an answer ends with its outcome")

    try:
        outcome = await unless_gone(request, run())
        await end_exchange(exchange, outcome, parts)
    finally:
        exchange.hold.release()
    message: dict[str, Any] = {"role": "assistant", "content": outcome.text, "refusal": None}
    message["annotations"] = list(outcome.annotations)
    body = {
        "id": outcome.response_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": _model_name(outcome),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": outcome.finish_reason}],
        "usage": _usage(outcome),
        "jeeves": _extension(outcome, exchange),
    }
    headers = _headers(outcome.rung, _model_name(outcome))
    return Response(orjson.dumps(body), media_type="application/json", headers=headers)


async def _streamed(request: Request, exchange: Exchange, parts: Parts) -> Response:
    """The stream's response begins with its first event: until then an error is still a plain error."""
    events = parts.answerer.answer(exchange.asked, owner=exchange.caller.id)
    try:
        opened = await unless_gone(request, anext(events))
    except BaseException:
        exchange.hold.release()
        await events.aclose()
        raise
    if not isinstance(opened, Opened):
        raise AssertionError("an answer begins with `Opened`")
    model = opened.model.id if opened.model else "none"
    headers = _headers(opened.rung, model) | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _chunks(events, exchange, opened, parts), media_type="text/event-stream; charset=utf-8", headers=headers
    )


async def _chunks(
    events: AsyncGenerator[Event], exchange: Exchange, opened: Opened, parts: Parts
) -> AsyncIterator[bytes]:
    model = opened.model.id if opened.model else "none"
    frame = {"id": opened.response_id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**frame, "choices": [choice], **more})

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for event in events:
            if isinstance(event, Text):
                yield chunk({"content": event.text})
            elif isinstance(event, Outcome):
                await end_exchange(exchange, event, parts)
                delta = {"annotations": list(event.annotations)}
                yield chunk(delta, event.finish_reason, jeeves=_extension(event, exchange))
                if exchange.asked.stream_options.include_usage:
                    yield _event({**frame, "choices": [], "usage": _usage(event)})
        yield b"data: [DONE]\n\n"
    except JeevesError as exc:
        # Too late for a status: the stream ends with a typed error, and without `[DONE]`.
        logger.warning("stream broke off", extra={"code": exc.code})
        yield _event(error_body(exc))
    finally:
        exchange.hold.release()
        await events.aclose()


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Run something for as long as the client waits for it.

    Raises:
        ClientGone: it went away; the work was cancelled.
    """
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("work for a client is done in a task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        # The watcher's own, and not also somebody else's?
        if gone and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


def _extension(outcome: Outcome, exchange: Exchange) -> dict[str, Any]:
    """What stands under the key `jeeves`."""
    return {
        "history": {"used": exchange.history_used, "dropped": exchange.history_dropped},
        "response_id": outcome.response_id,
        "rung": outcome.rung,
        "refused": outcome.refused,
        "grounded": outcome.grounded,
        "citations": [citation.model_dump(mode="json") for citation in outcome.citations],
        "model_version": _model_name(outcome),
        "index_id": outcome.index_id,
        "reasons": list(outcome.reasons),
        "given_passages": sum(section_id.startswith(GIVEN_PREFIX) for section_id in outcome.section_ids),
    }


def _model_name(outcome: Outcome) -> str:
    return outcome.model.id if outcome.model else "none"


def _usage(outcome: Outcome) -> dict[str, Any]:
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": outcome.cached_tokens},
    }


def _headers(rung: str, model: str) -> dict[str, str]:
    return {"X-Jeeves-Rung": rung, "X-Jeeves-Model": model}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(data)
