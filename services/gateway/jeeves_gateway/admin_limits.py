"""The operator's routes for limits, feature switches and the cache; every change stands in the audit trail."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from jeeves_gateway.budgets import KeyLimits, KeyUsage
from jeeves_gateway.features import Feature, FeatureOff
from jeeves_gateway.keys import Caller, require
from jeeves_gateway.parts import Parts
from jeeves_shared.contracts.base import Contract

Admin = Annotated[Caller, Depends(require("admin"))]
Operator = Annotated[Caller, Depends(require("operate"))]


class LimitsAndUsage(Contract):
    """`GET /v1/admin/keys/{key_id}/limits`."""

    limits: KeyLimits
    today: KeyUsage


class CacheCleared(Contract):
    """`DELETE /v1/admin/cache`."""

    answers: int


def limits_router(parts: Parts) -> APIRouter:
    """Routes below `/v1/admin`."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])
    store = parts.budget_store

    @router.get("/keys/{key_id}/limits", summary="Limits of a key, and what it used today")
    async def limits(key_id: str, caller: Admin) -> LimitsAndUsage:
        day = datetime.now(UTC).date().isoformat()
        await parts.behind.flush()
        return LimitsAndUsage(
            limits=await asyncio.to_thread(store.limits, key_id),
            today=await asyncio.to_thread(store.usage, key_id, day),
        )

    @router.put("/keys/{key_id}/limits", summary="Give a key limits of its own; null takes the settings' value")
    async def set_limits(key_id: str, body: KeyLimits, caller: Admin) -> KeyLimits:
        await asyncio.to_thread(store.set_limits, key_id, body)
        detail = {"key": key_id, **body.model_dump()}
        await asyncio.to_thread(parts.record.note, caller.id, "limits-changed", detail)
        return body

    @router.get("/switches", summary="Features that are off, with reason and expiry")
    async def switches(caller: Operator) -> dict[Feature, FeatureOff]:
        return parts.features.off()

    @router.put("/switches/{feature}", summary="Switch a feature off, with reason and expiry")
    async def switch_off(feature: Feature, body: FeatureOff, caller: Operator) -> FeatureOff:
        await asyncio.to_thread(parts.features.set, feature, body, caller.id)
        return body

    @router.delete("/switches/{feature}", summary="Switch a feature on again", status_code=204)
    async def switch_on(feature: Feature, caller: Operator) -> None:
        await asyncio.to_thread(parts.features.set, feature, None, caller.id)

    @router.delete("/cache", summary="Forget the answers that are kept for when the engine is down")
    async def clear_cache(caller: Operator) -> CacheCleared:
        cleared = CacheCleared(answers=parts.answerer.clear_cache())
        await asyncio.to_thread(parts.record.note, caller.id, "cache-cleared", cleared.model_dump())
        return cleared

    return router
