"""Feedback that a reviewer released. Exported by the gateway as JSON Lines, read by the collector."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract

Rating = Literal["up", "down"]

FEEDBACK_TAG = "reviewed-feedback"
"""Tag of documents that were made from feedback. Their answers: the right one, then the one that it replaced."""


class FeedbackItem(Contract):
    """One line of an export: an answer, what a user said about it, and what a reviewer made of it.

    It becomes a pair for training if somebody reviewed it and it has a right answer: the corrected one, or the answer
    itself where the rating is `up`.
    """

    schema_version: Literal[1] = 1
    id: str = Field(min_length=1, description="Of the feedback, unique for the gateway.")
    question: str
    answer: str = Field(description="As it was given.")
    corrected_answer: str = Field(default="", description="By the reviewer; empty if there is none.")
    rating: Rating
    reason: str = Field(default="", description="In the user's words; empty if none was given.")
    reviewed_by: str = Field(default="", description="Who released it; empty: nobody, and it is not used.")
    response_id: str = Field(default="", description="Of the answer, for its lineage.")
