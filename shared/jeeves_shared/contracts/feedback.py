"""Feedback that a person has reviewed. Written by the gateway's export; read by the collector."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

Rating = Literal["up", "down"]


class FeedbackItem(Contract):
    """One line of an export (JSON Lines)."""

    id: str
    question: str
    answer: str = Field(description="As it was given.")
    corrected_answer: str = Field(default="", description="What it should have been; empty if it was right.")
    rating: Rating
    reason: str = ""
    reviewed_by: str = Field(description="Id of the key that reviewed it.")
    response_id: str
