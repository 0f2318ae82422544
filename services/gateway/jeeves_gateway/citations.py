"""Text with citation markers: who said what, and where in the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jeeves_shared.contracts.answers import Citation
from jeeves_shared.contracts.documents import Passage


@dataclass(frozen=True, slots=True)
class Marker:
    """One `[n]` in an answer.

    Attributes:
        number: the n.
        start: offset of `[` in characters.
        end: offset after `]`.
    """

    number: int
    start: int
    end: int


@dataclass(slots=True)
class CitedText:
    """An answer that grows at its end, with markers. Sources are numbered in the order in which they are used.

    Args:
        passages: what may be cited.
    """

    passages: Sequence[Passage]
    text: str = ""
    markers: list[Marker] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)

    def add(self, text: str) -> str:
        """Append text; returns it."""
        self.text += text
        return text

    def mark(self, passage: int, lead: str = " ") -> str:
        """Append a marker.

        Args:
            passage: position in `passages`.
            lead: what stands before the marker.

        Returns:
            What was appended.
        """
        number = self._numbers.setdefault(passage, len(self._numbers) + 1)
        start = len(self.text) + len(lead)
        marker = Marker(number, start, start + len(f"[{number}]"))
        self.markers.append(marker)
        return self.add(f"{lead}[{number}]")

    @property
    def used(self) -> tuple[int, ...]:
        """Positions of the cited passages, in order of their numbers."""
        return tuple(self._numbers)

    def citations(self) -> tuple[Citation, ...]:
        """The sources that are cited, by number."""
        return tuple(
            Citation(
                number=number,
                source_path=self.passages[index].source_path,
                url=self.passages[index].url,
                title=self.passages[index].title,
                section=self.passages[index].section,
                licence=self.passages[index].licence,
            )
            for index, number in self._numbers.items()
        )

    def annotations(self) -> list[dict[str, Any]]:
        """OpenAI's `annotations`: one `url_citation` for each marker, with fields of our own beside OpenAI's."""
        by_number = {citation.number: citation for citation in self.citations()}
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": marker.start,
                    "end_index": marker.end,
                    "url": by_number[marker.number].url,
                    "title": by_number[marker.number].title,
                    "section": by_number[marker.number].section,
                    "source_path": by_number[marker.number].source_path,
                    "licence": by_number[marker.number].licence,
                    "number": marker.number,
                },
            }
            for marker in self.markers
        ]
