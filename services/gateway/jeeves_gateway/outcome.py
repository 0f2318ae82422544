"""What answering gives out: events, and the draft that an answer is while it is made."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from jeeves_gateway.citations import CitedText
from jeeves_gateway.openai_form import ChatRequest
from jeeves_gateway.passages import SourceSet
from jeeves_gateway.retrieval import Retrieved
from jeeves_shared.contracts.answers import Citation, Rung
from jeeves_shared.contracts.requests import ServedModel


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer begins; on this rung as far as is known."""

    response_id: str
    rung: Rung
    model: ServedModel | None


@dataclass(frozen=True, slots=True)
class Text:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole answer, and what stands behind it."""

    response_id: str
    text: str
    rung: Rung
    model: ServedModel | None
    index_id: str
    refused: bool = False
    grounded: bool | None = None
    citations: tuple[Citation, ...] = ()
    annotations: tuple[dict[str, Any], ...] = ()
    section_ids: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


Event = Opened | Text | Outcome


@dataclass(slots=True)
class Draft:
    """What is known of an answer while it is made."""

    request: ChatRequest
    question: str
    retrieved: Retrieved | None
    sources: SourceSet
    owner: str = ""  # id of the key that asks
    searched: bool = False  # by words of ours, not by the question's: its names need not be known
    strong: bool = False  # the evidence overrules a refusal of the model
    response_id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(16)}")
    model: ServedModel | None = None
    asked: ServedModel | None = None  # the model whose engine was asked, whatever answers in the end
    asked_seconds: float = 0.0  # how long that engine wrote
    reasons: list[str] = field(default_factory=list)
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def conversation(self) -> str:
        """What stays the same in a conversation: who asks, and how it began."""
        return f"{self.owner}\n{self.request.jeeves.conversation or self.request.messages[0].content}"

    def outcome(self, cited: CitedText, rung: Rung, refused: bool = False, grounded: bool | None = None) -> Outcome:
        """The finished answer.

        Args:
            cited: its text and markers.
            rung: where it came from.
            refused: it says that there is no answer.
            grounded: whether the sources support it; None if there are none.
        """
        return Outcome(
            response_id=self.response_id,
            text=cited.text,
            rung=rung,
            model=self.model,
            index_id=self.retrieved.index_id if self.retrieved else "",
            refused=refused,
            grounded=grounded,
            citations=cited.citations(),
            annotations=tuple(cited.annotations()),
            section_ids=tuple(passage.section_id for passage in self.sources.passages),
            reasons=tuple(self.reasons),
            finish_reason=self.finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )
