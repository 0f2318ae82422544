"""An answer that is a quotation, with what the question takes for granted and the sources do not know in front."""

from jeeves_gateway.citations import CitedText
from jeeves_gateway.evidence import unknown_note
from jeeves_gateway.made_up_syntax import made_up_note
from jeeves_gateway.outcome import Draft
from jeeves_gateway.quoting import write_extract

QUOTED_SCORE_SHARE_MIN = 0.85
"""Share of the best hit's score that a hit of another page must have to be quoted.

Source: 66 held-out, 227 search and 410 development questions: 72, 71 and 59 % of the citations were of a right page
without it, 79, 74 and 63 % with it; a right page was cited for 93.9, 87.7 and 78.3 % of the questions before, for 93.9,
87.2 and 78.3 % after.
"""


def note_unknown(draft: Draft, cited: CitedText) -> str:
    """Begin an answer with the question's names that the sources do not know, so that nobody takes it for one."""
    names = draft.retrieved.unknown if draft.retrieved and not draft.searched else ()
    note = made_up_note(draft.request.question) or unknown_note(draft.question, names)
    return cited.add(f"{note}\n\n") if note else ""


def quotation(draft: Draft) -> CitedText | None:
    """The best passages, quoted; None if they hold nothing that can be."""
    cited = CitedText(draft.sources.wholes)
    note_unknown(draft, cited)
    return cited if write_extract(cited, draft.question, far_behind(draft)) else None


def far_behind(draft: Draft) -> set[int]:
    """Positions of passages of other pages that were found far behind the best one: they are beside the point."""
    if draft.retrieved is None:
        return set()
    scores = {hit.passage.section_id: hit.score for hit in draft.retrieved.found}
    wholes = draft.sources.wholes
    least = QUOTED_SCORE_SHARE_MIN * max(scores.values(), default=0.0)
    return {
        at
        for at, passage in enumerate(wholes)
        if at and passage.source_path != wholes[0].source_path and scores.get(passage.section_id, least) < least
    }


def speaks_of_made_up_syntax(draft: Draft) -> bool:
    """Whether a question is about syntax that does not exist: a model would explain it all the same."""
    return not draft.searched and bool(made_up_note(draft.request.question))
