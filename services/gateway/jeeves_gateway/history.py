"""What of a conversation goes into the prompt and into the search."""

from collections.abc import Sequence

from jeeves_gateway.openai_form import ChatMessage, estimated_tokens
from jeeves_gateway.passages import content_terms
from jeeves_shared.contracts.prompts import Message, neutralize_control_tokens

EXCHANGES = 5
HISTORY_TOKENS = 500
"""Budget of the history: what 2,048 tokens leave beside three passages, the question and the answer."""
_STANDALONE_TERMS_MIN = 3


def recent_exchanges(messages: Sequence[ChatMessage]) -> list[Message]:
    """The last exchanges before the question that fit the budget, oldest first; whole exchanges only.

    Args:
        messages: of the client; the last is the question, system messages do not count.
    """
    spoken = [message for message in messages[:-1] if message.role in ("user", "assistant") and message.content.strip()]
    exchanges: list[list[ChatMessage]] = []
    for message in spoken:
        if message.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    kept: list[list[ChatMessage]] = []
    budget = HISTORY_TOKENS
    for exchange in reversed(exchanges[-EXCHANGES:]):
        budget -= sum(estimated_tokens(message.content) for message in exchange)
        if budget < 0:
            break
        kept.insert(0, exchange)
    return [
        Message(
            role="user" if message.role == "user" else "assistant",
            content=neutralize_control_tokens(message.content.strip()),
        )
        for exchange in kept
        for message in exchange
    ]


def search_text(messages: Sequence[ChatMessage]) -> str:
    """What to search for: the question, with the one before it when it says too little alone ("and in a folder?")."""
    question = messages[-1].content.strip()
    earlier = [message.content.strip() for message in messages[:-1] if message.role == "user"]
    if not earlier or len(content_terms(question)) >= _STANDALONE_TERMS_MIN:
        return question
    return f"{earlier[-1]}\n{question}"
