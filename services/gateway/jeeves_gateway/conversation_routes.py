"""`/v1/conversations`: what a key said, for that key only; and the erasure of all its data."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field

from jeeves_gateway.conversations import TITLE_CHARACTERS_MAX, Conversation, ConversationExport
from jeeves_gateway.keys import Caller, require
from jeeves_gateway.parts import Parts
from jeeves_shared.contracts.base import Contract

Chatter = Annotated[Caller, Depends(require("chat"))]
Admin = Annotated[Caller, Depends(require("admin"))]


class ConversationRequest(Contract):
    """`POST` and `PATCH`."""

    title: str = Field(default="", max_length=TITLE_CHARACTERS_MAX)


class Erased(Contract):
    """What was deleted."""

    conversations: int
    feedback: int


def conversation_router(parts: Parts) -> APIRouter:
    """Routes of conversations."""
    router = APIRouter(tags=["conversations"])
    kept = parts.conversations

    @router.post("/v1/conversations", summary="Begin a conversation", status_code=201)
    async def begin(body: ConversationRequest, caller: Chatter) -> Conversation:
        return await asyncio.to_thread(kept.begin, caller.id, body.title)

    @router.get("/v1/conversations", summary="Your conversations, latest first")
    async def listed(caller: Chatter) -> list[Conversation]:
        return await asyncio.to_thread(kept.listed, caller.id)

    @router.get("/v1/conversations/{conversation_id}", summary="A conversation with all that was said")
    async def export(conversation_id: str, caller: Chatter) -> ConversationExport:
        return await asyncio.to_thread(kept.export, conversation_id, caller.id)

    @router.patch("/v1/conversations/{conversation_id}", summary="Rename a conversation")
    async def rename(conversation_id: str, body: ConversationRequest, caller: Chatter) -> Conversation:
        return await asyncio.to_thread(kept.rename, conversation_id, caller.id, body.title)

    @router.delete("/v1/conversations/{conversation_id}", summary="Delete a conversation", status_code=204)
    async def delete(conversation_id: str, caller: Chatter) -> None:
        await asyncio.to_thread(kept.delete, conversation_id, caller.id)

    @router.delete("/v1/conversations", summary="Erase all conversations and feedback of this key")
    async def erase(caller: Chatter) -> Erased:
        return await _erase(parts, caller.id)

    @router.delete("/v1/admin/keys/{key_id}/data", summary="Erase all conversations and feedback of a key")
    async def erase_key(key_id: str, caller: Admin) -> Erased:
        erased = await _erase(parts, key_id)
        await asyncio.to_thread(parts.record.note, caller.id, "data-erased", {"key": key_id, **erased.model_dump()})
        return erased

    return router


async def _erase(parts: Parts, owner: str) -> Erased:
    parts.recent.forget(owner)
    return Erased(
        conversations=await asyncio.to_thread(parts.conversations.erase, owner),
        feedback=await asyncio.to_thread(parts.feedback.erase, owner),
    )
