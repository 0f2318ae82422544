"""Passages that come with a request and stand among the retrieved ones: what an operator plants to test with."""

from collections.abc import Sequence

from jeeves_gateway.openai_form import GivenPassage
from jeeves_shared.contracts.documents import Passage

GIVEN_PREFIX = "given:"
"""Begins the section id of a given passage; no section of an index has it."""


def among(found: Sequence[Passage], given: Sequence[GivenPassage], limit: int) -> list[Passage]:
    """The passages of a prompt: the best one that was found, the given ones, then what else was found.

    Args:
        found: best first.
        given: in the order of the request.
        limit: most passages altogether, more than there are given ones.
    """
    planted = [
        Passage(
            section_id=f"{GIVEN_PREFIX}{number}",
            source_path=f"given/{number}",
            url="",
            title=item.title,
            section=item.title,
            text=item.text,
            licence="",
        )
        for number, item in enumerate(given, start=1)
    ]
    return [*found[:1], *planted, *found[1:]][:limit]
