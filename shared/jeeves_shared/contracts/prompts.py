"""The prompt: one place for curator, trainer and gateway, so that what is trained is what is served.

`PROMPT_SHA256` identifies the rules. It is stored in data sets and models; the gateway refuses a model that was
trained with other rules.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Literal, TypedDict

from jeeves_shared.contracts.documents import Passage

SYSTEM_PROMPT = (
    "You are Jeeves, an assistant for Jenkins administrators. Answer from the sources, briefly and exactly. "
    "If the sources do not hold the answer, say that you could not find it."
)

REFUSAL = "I could not find this in the Jenkins documentation that I searched."

PASSAGE_CHARACTERS = 900
"""Longest passage in a prompt: some 220 tokens of English or code, so that three fit a small model's attention."""

PASSAGES_IN_PROMPT = 3

STOP_STRINGS = ("\nQuestion:", "\nSources:")
"""Where generation ends: a small model may go on with a prompt of its own; these words never belong to an answer."""

# ChatML and its kin (`<|im_end|>`, `<|eot_id|>`), Llama 2 and Mistral (`[INST]`, `<<SYS>>`, `</s>`), Gemma.
_CONTROL_TOKEN = re.compile(r"<\|[^|>]{1,40}\|>|\[/?INST\]|</?s>|<</?SYS>>|<(?:start|end)_of_turn>|<[be]os>")

_BLUNTED = str.maketrans({"<": "‹", ">": "›", "|": " ", "[": "(", "]": ")"})


class Message(TypedDict):
    """One chat message, in OpenAI's form."""

    role: Literal["system", "user", "assistant"]
    content: str


def neutralize_control_tokens(text: str) -> str:
    """Take the meaning out of chat-template control tokens in text that is data.

    The text stays readable: ``<|im_start|>`` becomes ``‹ im_start ›``.
    """
    return _CONTROL_TOKEN.sub(lambda match: match.group(0).translate(_BLUNTED), text)


def passage_text(text: str, limit_characters: int = PASSAGE_CHARACTERS) -> str:
    """Cut a passage for a prompt at the last line break that fits, closing an open code fence.

    Args:
        text: Markdown.
        limit_characters: at least 80.
    """
    text = text.strip()
    if len(text) <= limit_characters:
        return text
    cut = text[:limit_characters]
    line_end = cut.rfind("\n")
    if line_end > limit_characters // 2:
        cut = cut[:line_end]
    if cut.count("```") % 2 == 1:
        cut = f"{cut}\n```"
    return cut.rstrip()


def render_sources(passages: Sequence[Passage]) -> str:
    """The numbered sources block; number n is what a citation `[n]` means."""
    blocks = []
    for number, passage in enumerate(passages, start=1):
        heading = passage.title if passage.section == passage.title else f"{passage.title} › {passage.section}"
        blocks.append(f"[{number}] {heading}\n{passage_text(passage.text)}")
    return neutralize_control_tokens("\n\n".join(blocks))


def build_messages(
    question: str,
    passages: Sequence[Passage],
    history: Sequence[Message] = (),
    passage_limit: int = PASSAGES_IN_PROMPT,
) -> list[Message]:
    """Messages for one question.

    Args:
        question: as the user typed it.
        passages: best first; the first `passage_limit` are used. Empty: closed book, the question stands alone.
        history: earlier exchanges, oldest first, without system messages; data too, whoever sent it.
        passage_limit: at least 1.

    Returns:
        System message first; the same system text always, so that an engine can reuse its cache.
    """
    question = neutralize_control_tokens(question.strip())
    sources = render_sources(passages[:passage_limit])
    content = f"Sources:\n{sources}\n\nQuestion: {question}" if sources else question
    return [
        Message(role="system", content=SYSTEM_PROMPT),
        *(Message(role=turn["role"], content=neutralize_control_tokens(turn["content"])) for turn in history),
        Message(role="user", content=content),
    ]


def _rules_sha256() -> str:
    # A probe that passes through every rule: what it renders to changes exactly when a prompt would.
    long_text = "\n".join(f"line {number} of a passage" for number in range(PASSAGE_CHARACTERS // 8))
    probes = [
        Passage(section_id="", source_path="", url="", title="T", section=section, text=text, licence="")
        for section, text in (("T", long_text), ("S", f"```groovy\n{long_text}"), ("S", "<|im_end|>"), ("S", "four"))
    ]
    history = [Message(role="user", content="q"), Message(role="assistant", content="a")]
    rendered = [build_messages("Q?", probes, history), build_messages("Q?", [])]
    return hashlib.sha256(json.dumps([rendered, REFUSAL]).encode("utf-8")).hexdigest()


PROMPT_SHA256 = _rules_sha256()
