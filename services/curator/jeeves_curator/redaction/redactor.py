"""Replaces what the finders find."""

from collections import Counter
from collections.abc import Iterable

from jeeves_curator.redaction.assignments import find_assignments
from jeeves_curator.redaction.findings import Finding, without_overlaps
from jeeves_curator.redaction.forms import find_forms
from jeeves_curator.redaction.personal import find_personal
from jeeves_shared.contracts.documents import DocumentKind

REDACTION_VERSION = 1
"""Bump with any change to what is found or how it is replaced."""

_PLACEHOLDER = "REDACTED_"
_REPEATED_CHARACTERS_MIN = 6
"""A value of this length is also replaced where nothing before it gives it away."""


def scan(text: str, kind: DocumentKind = "reference") -> list[Finding]:
    """Secrets and personal items in a text, in order, without overlaps. Placeholders are never found again.

    Args:
        text: any.
        kind: of the document that the text belongs to.
    """
    found = [*find_forms(text), *find_assignments(text), *find_personal(text, kind)]
    return without_overlaps([hit for hit in found if _PLACEHOLDER not in text[hit.start : hit.end]])


class Redactor:
    """Replaces secrets and personal items by `REDACTED_<KIND>_<n>`, the same one for the same value.

    The form of a placeholder survives in Markdown, YAML, XML, addresses and code. One redactor serves one document, or
    one document and its pairs: what was found once is also replaced where nothing gives it away.

    Args:
        kind: of the document.
    """

    def __init__(self, kind: DocumentKind = "reference") -> None:
        self._kind = kind
        self._placeholders: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def redact(self, text: str) -> str:
        """The text with placeholders; itself if there is nothing to hide."""
        findings = scan(text, self._kind)
        if findings:
            self.found.update(finding.kind for finding in findings)
            parts: list[str] = []
            place = 0
            for finding in findings:
                parts += (
                    text[place : finding.start],
                    self._placeholder(finding.kind, text[finding.start : finding.end]),
                )
                place = finding.end
            text = "".join((*parts, text[place:]))
        return self._repeated(text)

    def redact_all(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Each text with placeholders."""
        return tuple(self.redact(text) for text in texts)

    def _placeholder(self, kind: str, value: str) -> str:
        known = self._placeholders.get(value)
        if known is None:
            self._numbers[kind] += 1
            known = f"{_PLACEHOLDER}{kind.upper().replace('-', '_')}_{self._numbers[kind]}"
            self._placeholders[value] = known
        return known

    def _repeated(self, text: str) -> str:
        for value, placeholder in self._placeholders.items():
            if len(value) >= _REPEATED_CHARACTERS_MIN and value in text:
                self.found[placeholder.removeprefix(_PLACEHOLDER).rpartition("_")[0].lower().replace("_", "-")] += 1
                text = text.replace(value, placeholder)
        return text
