"""One question and its answer: what goes before it, and what is kept after it."""

import asyncio
import logging
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from jeeves_gateway.budgets import Hold
from jeeves_gateway.feedback import GivenAnswer
from jeeves_gateway.history import recent_exchanges
from jeeves_gateway.keys import Caller
from jeeves_gateway.openai_form import ChatRequest
from jeeves_gateway.outcome import Outcome
from jeeves_gateway.parts import Parts
from jeeves_gateway.serving import ModelOrigin
from jeeves_shared.contracts.prompts import PROMPT_SHA256

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with all that was said before it.

    Attributes:
        asked: with the messages of its conversation, if it has one.
        caller: the key that asks.
        hold: its place among the answers of the key that run; to be released.
        history_used: earlier messages that go into the prompt.
        history_dropped: earlier messages that do not: too old, or beyond the token budget.
    """

    asked: ChatRequest
    caller: Caller
    hold: Hold
    history_used: int
    history_dropped: int


async def begin_exchange(asked: ChatRequest, caller: Caller, parts: Parts) -> Exchange:
    """Add what was said before.

    Raises:
        NotFound: no such conversation of this key.
        Conflict: the conversation is full.
        RateLimited: a budget of the key is used up.
        Unavailable: conversations are switched off.
    """
    conversation = asked.jeeves.conversation
    if conversation is not None:
        parts.features.require("conversations")
        earlier = await asyncio.to_thread(parts.conversations.history, conversation, caller.id)
        asked = asked.model_copy(update={"messages": [*earlier, asked.messages[-1]]})
    used = len(recent_exchanges(asked.messages, parts.history_exchanges))
    return Exchange(asked, caller, await parts.budgets.admit(caller), used, len(asked.messages) - 1 - used)


async def end_exchange(exchange: Exchange, outcome: Outcome, parts: Parts) -> None:
    """Keep lineage, the latest answers, and the conversation if the client wants it kept."""
    await keep_lineage(outcome, exchange.caller.id, parts)
    await parts.budgets.spend(exchange.caller, outcome.prompt_tokens + outcome.completion_tokens)
    question = exchange.asked.question
    model_id = outcome.model.id if outcome.model else ""
    parts.recent.add(outcome.response_id, GivenAnswer(exchange.caller.id, question, outcome.text, model_id))
    conversation = exchange.asked.jeeves.conversation
    if conversation is None:
        return
    try:
        await asyncio.to_thread(
            parts.conversations.add, conversation, exchange.caller.id, question, outcome.text, outcome.response_id
        )
    except SQLAlchemyError as exc:
        parts.metrics.record_failures.inc()
        logger.warning("exchange was not kept", extra={"kind": type(exc).__name__})


async def keep_lineage(outcome: Outcome, owner: str, parts: Parts) -> None:
    """Record what stands behind an answer; a record that cannot be written is counted, the answer still goes out."""
    model = outcome.model
    origin = parts.room.origin(model) if model else ModelOrigin()
    lineage = {
        "owner": owner,
        "model": model.model_dump(mode="json", exclude={"state"}) if model else None,
        "dataset_id": origin.dataset_id,
        "index_id": outcome.index_id,
        "prompt_sha256": PROMPT_SHA256,
        "training_id": origin.training_id,
        "template_sha256": origin.template_sha256,
        "section_ids": list(outcome.section_ids),
        "cited": [citation.source_path for citation in outcome.citations],
        "rung": outcome.rung,
        "refused": outcome.refused,
        "grounded": outcome.grounded,
        "reasons": list(outcome.reasons),
    }
    parts.behind.add_response(outcome.response_id, lineage)
