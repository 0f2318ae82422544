"""Which posts of a file are wanted: questions with certain tags, and all their answers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from jeeves_collector.sources.post_rows import Row
from jeeves_collector.sources.posts import tag_names

_QUESTION = b' PostTypeId="1"'
_ANSWER = b' PostTypeId="2" ParentId="'
_OTHER = b' PostTypeId="'
_TAGS = b'" Tags="'
_NUMBER_MAX = 1 << 63


@dataclass(frozen=True)
class StagedPost:
    """A post that is wanted.

    Attributes:
        id: of the post.
        parent: of the question, for an answer; 0 for a question.
        fields: the row as JSON.
    """

    id: int
    parent: int
    fields: str


class PostSieve:
    """Chooses among the rows of a file.

    Args:
        tags: of the questions, in lower case; empty: all questions.
        questions: numbers of those that are known to be wanted.
        last: highest number that was seen.
        is_sorted: whether the file was sorted by number so far. While it is, an answer to a question that is not known
            is not wanted, but for the few that were moved to a younger question: those are kept until the end.
        answers_only: in a second pass, when all questions are known.
    """

    def __init__(
        self,
        tags: Iterable[str],
        questions: Iterable[int] = (),
        *,
        last: int = 0,
        is_sorted: bool = True,
        answers_only: bool = False,
    ) -> None:
        self._tags = frozenset(tags)
        self._needles = tuple(escape(tag) for tag in self._tags)
        self._questions = set(questions)
        self.last = last
        self.is_sorted = is_sorted
        self.answers_only = answers_only
        self.damaged_rows = 0

    def passed(self, number: int) -> None:
        """Told of every row, in the order of the file."""
        if number < self.last:
            self.is_sorted = False
        else:
            self.last = number

    def may_want(self, number: int, attributes: bytes) -> bool:
        """False for a row that `staged` would refuse; told by bytes alone, and True where those leave it open."""
        self.passed(number)
        if not self._tags:
            return True
        if attributes.startswith(_ANSWER):
            digits = attributes[len(_ANSWER) : attributes.index(b'"', len(_ANSWER))]
            return not digits.isdigit() or self._wants_answer(number, int(digits))
        if attributes.startswith(_QUESTION):
            if self.answers_only or not self._may_have_tags(attributes):
                return False
            # Its answers may follow before it is parsed. If it is not wanted after all, nobody asks for them.
            self._questions.add(number)
            return True
        return not attributes.startswith(_OTHER)

    def _may_have_tags(self, attributes: bytes) -> bool:
        # No value holds a double quote, so `_TAGS` is where the attribute begins, but for a value that is ` Tags=`.
        before, found, rest = attributes.partition(_TAGS)
        if not found or before.endswith(b"="):
            return bool(found)
        tags = rest[: rest.index(b'"')].decode("utf-8", errors="replace").lower()
        return "&#" in tags or any(needle in tags for needle in self._needles)

    def _wants_answer(self, number: int, parent: int) -> bool:
        return not self._tags or parent in self._questions or (self.is_sorted and parent > number)

    def staged(self, row: Row) -> StagedPost | None:
        """The row if it is wanted."""
        kind = row.get("PostTypeId") or ("2" if row.get("ParentId") else "1")
        try:
            number, parent = int(row.get("Id", "")), int(row.get("ParentId") or 0)
        except ValueError:
            number = parent = -1
        if not (0 < number < _NUMBER_MAX and 0 <= parent < _NUMBER_MAX):
            self.damaged_rows += 1
            return None
        if kind == "2" and parent and self._wants_answer(number, parent):
            return StagedPost(number, parent, json.dumps(row))
        if kind != "1" or self.answers_only or not self._has_tags(row):
            return None
        if self._tags:
            self._questions.add(number)
        return StagedPost(number, 0, json.dumps(row))

    def _has_tags(self, row: Row) -> bool:
        return not self._tags or not self._tags.isdisjoint(tag_names((row.get("Tags") or "").lower()))
