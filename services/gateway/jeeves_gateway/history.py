"""What of a conversation goes into the prompt and into the search."""

import re
from collections.abc import Sequence

from jeeves_gateway.openai_form import ChatMessage, estimated_tokens
from jeeves_gateway.passages import content_terms
from jeeves_shared.contracts.prompts import Message, neutralize_control_tokens

EXCHANGES = 5
HISTORY_TOKENS = 500
"""Budget of the history: what 2,048 tokens leave beside three passages, the question and the answer."""
_STANDALONE_TERMS_MIN = 3
_SUBJECT_TERMS_MIN = 2
"""An earlier question with so many, "What is a shared library?", is what the later ones point back to."""
_NAMED_TERMS_MIN = 5
"""A question with so many content terms names its subject, whatever pronouns it has."""
_FULL_TERMS_MIN = 4
"""A question that is asked in full, "And how do I skip a stage on other branches?", with so many stands alone."""
_ASKS_IN_FULL = re.compile(
    r"(?i)(?:and|but|also|or|then),? (?:(?:what|how)(?! about)|where|why|which|when|can|does|do|is|are)\b"
)
_CONTINUES = re.compile(r"(?i)(?:and|but|also|what about|how about|or|then|那么?|还有|如果)\b|(?:那|还有|另外)")
_PRONOUN = re.compile(
    r"(?i)\b(?:it|its|that|this|those|these|them|they|there|the same|one|instead)\b|它|这个|那个|其中"
)


def recent_exchanges(messages: Sequence[ChatMessage], exchanges_max: int = EXCHANGES) -> list[Message]:
    """The last exchanges before the question that fit the budget, oldest first; whole exchanges only.

    Args:
        messages: of the client; the last is the question, system messages do not count.
        exchanges_max: how many at most.
    """
    spoken = [message for message in messages[:-1] if message.role in ("user", "assistant") and message.content.strip()]
    exchanges: list[list[ChatMessage]] = []
    for message in spoken:
        if message.role == "user" or not exchanges:
            exchanges.append([])
        exchanges[-1].append(message)
    kept: list[list[ChatMessage]] = []
    budget = HISTORY_TOKENS
    for exchange in reversed(exchanges[-exchanges_max:] if exchanges_max else []):
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
    """What to search for: the question, made standalone by the one before it when it points back.

    A question points back when it says too little alone ("and in a folder?"), or begins like a continuation, or names
    its subject only by a pronoun ("How do I undo it?").
    """
    question = messages[-1].content.strip()
    earlier = [message.content.strip() for message in messages[:-1] if message.role == "user"]
    if not earlier:
        return question
    if _stands_alone(question, _STANDALONE_TERMS_MIN):
        return question
    # A chain of such questions leads back to the last one that stands alone; those between may name a part of it.
    chain = [question]
    for before in reversed(earlier[-EXCHANGES:]):
        if len(content_terms(before)) >= _SUBJECT_TERMS_MIN:
            chain.insert(0, before)
        if _stands_alone(before, _SUBJECT_TERMS_MIN):
            break
    return "\n".join(chain if len(chain) > 1 else [earlier[-1], question])


def _stands_alone(question: str, terms_min: int) -> bool:
    terms = content_terms(question)
    if _PRONOUN.search(question) and len(terms) < _NAMED_TERMS_MIN:
        return False
    if _CONTINUES.match(question) and not (_ASKS_IN_FULL.match(question) and len(terms) >= _FULL_TERMS_MIN):
        return False
    return len(terms) >= terms_min
