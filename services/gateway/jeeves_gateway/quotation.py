"""An answer that is a quotation, with what the question takes for granted and the sources do not know in front."""

from jeeves_gateway.citations import CitedText
from jeeves_gateway.evidence import unknown_note
from jeeves_gateway.made_up_syntax import made_up_note
from jeeves_gateway.outcome import Draft
from jeeves_gateway.quoting import write_extract


def note_unknown(draft: Draft, cited: CitedText) -> str:
    """Begin an answer with the question's names that the sources do not know, so that nobody takes it for one."""
    names = draft.retrieved.unknown if draft.retrieved and not draft.searched else ()
    note = made_up_note(draft.request.question) or unknown_note(draft.question, names)
    return cited.add(f"{note}\n\n") if note else ""


def quotation(draft: Draft) -> CitedText | None:
    """The best passages, quoted; None if they hold nothing that can be."""
    cited = CitedText(draft.sources.wholes)
    note_unknown(draft, cited)
    return cited if write_extract(cited, draft.question) else None


def speaks_of_made_up_syntax(draft: Draft) -> bool:
    """Whether a question is about syntax that does not exist: a model would explain it all the same."""
    return not draft.searched and bool(made_up_note(draft.request.question))
