"""Document attributes: `:name: value` entries and `{name}` references.

Source: https://docs.asciidoctor.org/asciidoc/latest/attributes/ (entries, references, character replacements).
"""

import re
from collections import Counter
from collections.abc import Mapping

ENTRY = re.compile(r"^:(?P<unset_before>!)?(?P<name>\w[\w-]*)(?P<unset_after>!)?:(?:[ \t]+(?P<value>.*))?$")
_REFERENCE = re.compile(
    # What is passed through or escaped first, so that it is left alone.
    r"(?P<skip>\\\{\w[\w-]*\}|\+\+\+.+?\+\+\+|\+\+[^+\n]+?\+\+|(?<![\w+])\+\S(?:[^+\n]*\S)?\+(?!\w)|pass:\w*\[.*?\])"
    r"|\$?\{(?P<name>\w[\w-]*)\}"
)

CHARACTER_REPLACEMENTS: Mapping[str, str] = {
    "blank": "", "empty": "", "sp": " ", "nbsp": "\u00a0", "zwsp": "\u200b", "wj": "\u2060",
    "apos": "&#39;", "quot": "&#34;", "lsquo": "‘", "rsquo": "’", "ldquo": "“", "rdquo": "”",
    "deg": "°", "plus": "&#43;", "brvbar": "¦", "vbar": "|", "amp": "&", "lt": "<", "gt": ">",
    "startsb": "[", "endsb": "]", "caret": "^", "asterisk": "&#42;", "tilde": "~", "backslash": "\\",
    "backtick": "`", "two-colons": "::", "two-semicolons": ";;", "cpp": "C&#43;&#43;", "pp": "&#43;&#43;",
}  # fmt: skip


class Attributes:
    """The attributes of one document, as they stand at the present line.

    Args:
        initial: attributes of the site, of the component, and of the page's place.
    """

    def __init__(self, initial: Mapping[str, str]) -> None:
        self._values = {name.lower(): value for name, value in initial.items()}
        self.unresolved: Counter[str] = Counter()
        """References to attributes that nobody set; they stay visible in the text."""

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def get(self, name: str, default: str = "") -> str:
        """Value of an attribute."""
        return self._values.get(name.lower(), default)

    def take_entry(self, line: str) -> bool:
        """Set or unset an attribute if the line is an entry.

        Returns:
            True if it was one.
        """
        found = ENTRY.match(line)
        if found is None:
            return False
        name = found["name"].lower()
        if found["unset_before"] or found["unset_after"]:
            self._values.pop(name, None)
        else:
            value = self.resolve((found["value"] or "").strip(), count=False)
            if name == "leveloffset" and value[:1] in ("+", "-"):
                value = str(self.level_offset + _integer(value))
            self._values[name] = value
        return True

    @property
    def level_offset(self) -> int:
        """By how much headings are moved down at the present line."""
        return _integer(self.get("leveloffset", "0"))

    def resolve(self, text: str, *, count: bool = True) -> str:
        """Replace the references in a text; unknown ones stay.

        Args:
            text: one line or more.
            count: whether unknown names are counted as unresolved.
        """
        if "{" not in text:
            return text

        def value(found: re.Match[str]) -> str:
            # `${name}` is a variable of a shell or of Groovy, in prose that shows code.
            if found["skip"] or found[0].startswith("$"):
                return found[0]
            name = found["name"].lower()
            if name in self._values:
                return self._values[name]
            if name in CHARACTER_REPLACEMENTS:
                return CHARACTER_REPLACEMENTS[name]
            if count:
                self.unresolved[found["name"]] += 1
            return found[0]

        return _REFERENCE.sub(value, text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
