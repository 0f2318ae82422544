"""Why an item was left out. The names are part of the API: they are keys of a manifest's `drops`, and metric labels."""

from enum import StrEnum


class DropReason(StrEnum):
    """Reason for which a file, an include or a pair is not in a collection."""

    PARTIAL = "partial"
    """A piece for inclusion: below `_…`, or in an Antora family other than pages."""
    NAVIGATION = "navigation"
    """An Antora `nav.adoc`: it gives titles to other documents and holds none itself."""
    EMPTY = "empty"
    STUB = "stub"
    """Less text than `tree.STUB_CHARACTERS`."""
    BINARY = "binary"
    ENCODING = "encoding"
    """Neither Unicode nor one of the encodings that can be told apart from it with confidence."""
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    LINK_OUTSIDE = "link-outside"
    """A symbolic link that leads out of the source."""
    INCLUDE_BUDGET = "include-budget"
    """A document that its includes blow up beyond all measure."""
    INCLUDE_CYCLE = "include-cycle"
    INCLUDE_OUTSIDE = "include-outside"
    """An include that leads out of the source, by path or by address."""
    INCLUDE_MISSING = "include-missing"
    ARCHIVE_LINK = "archive-link"
    """A link or a device in an archive: only files are taken."""
    ARCHIVE_ESCAPE = "archive-escape"
    """A path in an archive that leads out of it."""
    PAIR_INVALID = "pair-invalid"
    PAIR_DUPLICATE_ID = "pair-duplicate-id"
    QUESTION_INVALID = "question-invalid"
    """A row or record without a question or an answer, or of another form."""
    ENTRY_INVALID = "entry-invalid"
    """A post, plugin, job or build that is not what the protocol says."""
    GONE = "gone"
    """Listed, but not there when it was asked for."""
    DENIED = "denied"
    """Not for the user that the collector is; the detail names the permission."""
    NOT_WANTED = "not-wanted"
    """Below the score, without an accepted answer, or hidden: as the recipe or the forum has it."""
    FEEDBACK_INVALID = "feedback-invalid"
    FEEDBACK_NOT_REVIEWED = "feedback-not-reviewed"
    FEEDBACK_WITHOUT_ANSWER = "feedback-without-answer"
    """Rated `down`, and nobody wrote the right answer."""


class Dropped(Exception):
    """Raised where one item is found unusable; the collection goes on without it.

    Args:
        reason: why.
        detail: for the log.
    """

    def __init__(self, reason: DropReason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
