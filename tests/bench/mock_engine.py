"""An OpenAI-shaped engine for measuring gateways: answers at a set pace, counts what runs. `mock_engine.py PORT`."""

import asyncio
import json
import sys
import time

from aiohttp import web

WORDS = 16
STATE = {"running": 0, "aborted_at": 0.0}


async def chat(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    pause = float(request.headers.get("x-pause", 0)) or request.app["pause"]
    if not body.get("stream"):
        message = {"role": "assistant", "content": "word " * WORDS}
        usage = {"prompt_tokens": 50, "completion_tokens": WORDS, "total_tokens": 50 + WORDS}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": "mock"}
        await asyncio.sleep(pause * WORDS)
        return web.json_response({**head, "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    STATE["running"] += 1
    try:
        for number in range(WORDS):
            if pause:
                await asyncio.sleep(pause)
            chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": f"word{number} is here. "}}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        end = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        usage = {"id": "x", "choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": WORDS}}
        await response.write(f"data: {json.dumps(end)}\n\ndata: {json.dumps(usage)}\n\ndata: [DONE]\n\n".encode())
    except (ConnectionResetError, asyncio.CancelledError):
        STATE["aborted_at"] = time.time()
        raise
    finally:
        STATE["running"] -= 1
    return response


async def models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "mock", "object": "model"}]})


async def state(_: web.Request) -> web.Response:
    return web.json_response(STATE)


async def pace(request: web.Request) -> web.Response:
    request.app["pause"] = float(request.match_info["seconds"])
    return web.json_response({})


def main() -> None:
    app = web.Application()
    app["pause"] = 0.0
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/state", state)
    app.router.add_put("/pace/{seconds}", pace)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
