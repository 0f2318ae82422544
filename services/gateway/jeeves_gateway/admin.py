"""The operator's routes: what is served, the rung, the keys; and the lineage of a response."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from jeeves_gateway.keys import Caller, Scope, require
from jeeves_gateway.parts import Parts
from jeeves_gateway.record import KeyRow
from jeeves_gateway.switches import RungPin
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.canary import CanaryRequest, CanaryState
from jeeves_shared.contracts.requests import ServedModel, ServeIndexRequest, ServeModelRequest

Admin = Annotated[Caller, Depends(require("admin"))]
Operator = Annotated[Caller, Depends(require("operate"))]
Chatter = Annotated[Caller, Depends(require("chat"))]


class KeyRequest(Contract):
    """`POST /v1/admin/keys`."""

    name: str = Field(min_length=1, max_length=100)
    scopes: tuple[Scope, ...] = Field(default=("chat",), min_length=1)


def admin_router(parts: Parts) -> APIRouter:
    """Routes below `/v1/admin`."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])

    @router.put("/models/champion", summary="Load, verify, shift, drain, unload; on any error the old model goes on")
    async def serve_model(body: ServeModelRequest, caller: Admin) -> ServedModel:
        return await parts.room.serve(body, caller.id)

    @router.get("/models/canary", summary="The candidate that is tried, or the last one, and what is known of it")
    async def canary(caller: Operator) -> CanaryState:
        return parts.room.canary.state()

    @router.put("/models/canary", summary="Try a candidate on a share of the conversations")
    async def start_canary(body: CanaryRequest, caller: Admin) -> CanaryState:
        return await parts.room.canary.start(body, caller.id)

    @router.post("/models/canary/promote", summary="Make the candidate the champion, once it is known to be as good")
    async def promote_canary(caller: Admin) -> ServedModel:
        return await parts.room.canary.promote(caller.id)

    @router.delete("/models/canary", summary="End the trial; running answers are finished", status_code=204)
    async def end_canary(caller: Admin) -> None:
        await parts.room.canary.end(caller.id)

    @router.post("/rollback", summary="Serve the previous model again")
    async def rollback(caller: Admin) -> ServedModel:
        return await parts.room.rollback(caller.id)

    @router.put("/index", summary="Swap the search index")
    async def serve_index(body: ServeIndexRequest, caller: Admin) -> dict[str, Any]:
        if await parts.library.serve(body.index):
            document = body.model_dump(mode="json")
            await asyncio.to_thread(parts.record.set_served, {"index": document}, caller.id, "index-served")
        return {"id": body.index.id, "documents": body.index.documents, "sections": body.index.sections}

    @router.get("/status", summary="Models, index, rung, breaker, queue")
    async def status(caller: Operator) -> dict[str, Any]:
        return await _status(parts)

    @router.put("/rung", summary="Pin a rung, with reason and expiry")
    async def pin(body: RungPin, caller: Operator) -> RungPin:
        await asyncio.to_thread(parts.switch.pin, body, caller.id)
        return body

    @router.delete("/rung", summary="Take the pin away", status_code=204)
    async def release(caller: Operator) -> None:
        await asyncio.to_thread(parts.switch.pin, None, caller.id)

    @router.get("/keys", summary="All keys, without the keys themselves")
    async def keys(caller: Admin) -> list[dict[str, Any]]:
        return [_key(row) for row in await asyncio.to_thread(parts.record.list_keys)]

    @router.post("/keys", summary="Make a key; it is shown this once", status_code=201)
    async def create_key(body: KeyRequest, caller: Admin) -> dict[str, Any]:
        row, key = await parts.doorkeeper.create(body.name, body.scopes, caller.id)
        return {**_key(row), "key": key}

    @router.delete("/keys/{key_id}", summary="Revoke a key, at once")
    async def revoke_key(key_id: str, caller: Admin) -> dict[str, Any]:
        return _key(await parts.doorkeeper.revoke(key_id, caller.id))

    @router.get("/audit", summary="What operators did, newest first")
    async def audit(caller: Admin) -> list[dict[str, Any]]:
        return await asyncio.to_thread(parts.record.audit)

    return router


def lineage_router(parts: Parts) -> APIRouter:
    """The lineage of responses."""
    router = APIRouter(tags=["lineage"])

    @router.get(
        "/v1/responses/{response_id}/lineage", summary="Model, data set, index, prompt and sources of a response"
    )
    async def lineage(response_id: str, caller: Chatter) -> dict[str, Any]:
        owner = "" if "admin" in caller.scopes else caller.id
        await parts.behind.flush()
        return await asyncio.to_thread(parts.record.response, response_id, owner)

    return router


async def _status(parts: Parts) -> dict[str, Any]:
    engine = parts.room.engine
    index = parts.library.manifest
    pin = parts.switch.current
    previous = await asyncio.to_thread(parts.record.served, "previous")
    retraining = await asyncio.to_thread(parts.retraining.status)
    return {
        "model": parts.room.model.model_dump(mode="json") if parts.room.model else None,
        "previous": None if previous is None else previous.get("model", {}).get("id", "base"),
        "canary": canary.model_dump(mode="json") if (canary := parts.room.canary.model) else None,
        "problem": parts.room.problem,
        "index": {"id": index.id, "documents": index.documents, "sections": index.sections} if index else None,
        "rung": parts.switch.rung() or ("full" if not parts.room.problem else "extractive" if index else "unavailable"),
        "pin": pin.model_dump(mode="json") if pin else None,
        "breaker": engine.breaker.state if engine else "open",
        "queue": {"running": parts.admission.running, "waiting": parts.admission.waiting},
        "draining": parts.room.draining,
        "retraining": retraining.model_dump(mode="json") if retraining else None,
    }


def _key(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "scopes": list(row.scopes),
        "revoked": row.revoked,
        "created_at": row.created_at.isoformat(),
    }
