"""What a chat answer carries beside OpenAI's fields, under the key `jeeves`, and what `jeeves ask --json` prints."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

Rung = Literal["full", "reduced", "extractive", "cached", "unavailable"]


class Citation(Contract):
    """A source of an answer. Written by the gateway; read by the page, the command line and the suites."""

    number: int = Field(ge=1, description="The n of `[n]` in the answer.")
    source_path: str
    url: str
    title: str
    section: str
    licence: str = ""


class Answer(Contract):
    """One answered question, as `jeeves ask --json` prints it."""

    id: str = Field(default="", description="Of the question, in a batch.")
    question: str
    answer: str
    citations: tuple[Citation, ...]
    rung: Rung
    model: str
    response_id: str
    refused: bool = False
    reasons: tuple[str, ...] = Field(default=(), description="Why the answer is not a plain one of the rung `full`.")
