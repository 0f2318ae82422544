"""One stream of lines out of a document and its includes, with the conditionals decided.

As in Asciidoctor, this comes before any parsing: an include works inside a code block too. Attributes are those that
the reader of the stream has set by the line at hand.

Source: https://docs.asciidoctor.org/asciidoc/latest/directives/.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from jeeves_collector.asciidoc.attributes import Attributes
from jeeves_collector.asciidoc.includes import parse_attribute_list, select_lines
from jeeves_collector.drops import Dropped, DropReason

INCLUDE = re.compile(r"^(?P<escape>\\)?include::(?P<target>[^\s\[](?:[^\[]*[^\s\[])?)\[(?P<attributes>.*)\]$")
_CONDITIONAL = re.compile(r"^(?P<escape>\\)?(?P<kind>ifdef|ifndef|ifeval|endif)::(?P<names>\S*?)\[(?P<content>.*)\]$")
_COMPARISON = re.compile(r"^\s*(?P<left>.+?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>.+?)\s*$")
_DEPTH_MAX = 64
"""Asciidoctor's `max-include-depth`."""
CHARACTERS_MAX = 8 * 1024 * 1024
"""Of a document with its includes: files that include each other twice a level grow without bound."""


class OffsetLine(str):
    """An attribute entry that an include's `leveloffset` stands for; never a line of the document."""


class IncludeResolver(Protocol):
    """Finds and reads the files that are included."""

    def resolve(self, target: str, including: Path) -> Path:
        """File of an include.

        Args:
            target: as written, attributes resolved.
            including: the file with the directive.

        Raises:
            Dropped: outside of the source, or not there.
        """
        ...

    def read(self, path: Path) -> str:
        """Text of a file.

        Raises:
            Dropped: not a text.
        """
        ...


class Preprocessor:
    """Iterates over the lines of a document.

    Args:
        path: of the document.
        text: of the document, without front matter.
        attributes: shared with the reader of the stream, which sets them.
        resolver: finds the includes.
    """

    def __init__(self, path: Path, text: str, attributes: Attributes, resolver: IncludeResolver) -> None:
        self._path = path
        self._text = text
        self._attributes = attributes
        self._resolver = resolver
        self._characters = 0
        self.refused: list[tuple[DropReason, str]] = []
        """Includes that were left out: reason, and target with what is wrong with it."""

    def __iter__(self) -> Iterator[str]:
        return self._lines(self._text.split("\n"), (self._path,))

    def _lines(self, lines: list[str], stack: tuple[Path, ...]) -> Iterator[str]:
        # One entry for each open conditional: whether its lines are wanted.
        wanted: list[bool] = []
        for raw in lines:
            line = raw.rstrip()
            conditional = _CONDITIONAL.match(line) if "::" in line else None
            if conditional:
                if conditional["escape"]:
                    yield raw[1:]
                else:
                    yield from self._conditional(conditional, wanted)
            elif all(wanted):
                yield from self._line(raw, line, stack)

    def _line(self, raw: str, line: str, stack: tuple[Path, ...]) -> Iterator[str]:
        found = INCLUDE.match(line) if "include::" in line else None
        if found is None:
            self._characters += len(raw) + 1
            if self._characters > CHARACTERS_MAX:
                raise Dropped(DropReason.INCLUDE_BUDGET, f"over {CHARACTERS_MAX} characters with its includes")
            yield raw
        elif found["escape"]:
            yield raw[1:]
        else:
            yield from self._include(found["target"], found["attributes"], stack)

    def _conditional(self, found: re.Match[str], wanted: list[bool]) -> Iterator[str]:
        kind, content = found["kind"], found["content"]
        if kind == "endif":
            if wanted:
                wanted.pop()
            return
        if kind == "ifeval":
            wanted.append(all(wanted) and self._compare(content))
            return
        is_set = self._defined(found["names"])
        decision = is_set if kind == "ifdef" else not is_set
        if not content:
            wanted.append(decision)
        elif decision and all(wanted):
            yield content

    def _defined(self, names: str) -> bool:
        if "+" in names:
            return all(name in self._attributes for name in names.split("+"))
        return any(name in self._attributes for name in names.split(","))

    def _compare(self, expression: str) -> bool:
        found = _COMPARISON.match(expression)
        if found is None:
            return False
        left, right = (self._operand(found[side]) for side in ("left", "right"))
        if isinstance(left, str) != isinstance(right, str):
            left, right = str(left), str(right)
        return {
            "==": left == right,
            "!=": left != right,
            "<": left < right,  # type: ignore[operator]
            "<=": left <= right,  # type: ignore[operator]
            ">": left > right,  # type: ignore[operator]
            ">=": left >= right,  # type: ignore[operator]
        }[found["operator"]]

    def _operand(self, text: str) -> str | float:
        value = self._attributes.resolve(text, count=False)
        if value[:1] in "\"'" and value[-1:] == value[:1]:
            return value[1:-1]
        try:
            return float(value)
        except ValueError:
            return value

    def _include(self, target: str, attribute_text: str, stack: tuple[Path, ...]) -> Iterator[str]:
        resolved = self._attributes.resolve(target)
        _, attributes = parse_attribute_list(self._attributes.resolve(attribute_text, count=False))
        try:
            path = self._resolver.resolve(resolved, stack[-1])
            if path in stack or len(stack) > _DEPTH_MAX:
                raise Dropped(DropReason.INCLUDE_CYCLE, "includes itself")
            text = self._resolver.read(path)
        except Dropped as exc:
            if exc.reason is not DropReason.INCLUDE_MISSING or "optional" not in _options(attributes):
                self.refused.append((exc.reason, f"{resolved}: {exc}"))
            return
        offset = attributes.get("leveloffset")
        before = self._attributes.get("leveloffset", "0")
        if offset:
            yield OffsetLine(f":leveloffset: {offset}")
        yield from self._lines(select_lines(text.rstrip("\n").split("\n"), attributes), (*stack, path))
        if offset:
            yield OffsetLine(f":leveloffset: {before}")


def _options(attributes: Mapping[str, str]) -> list[str]:
    return (attributes.get("opts") or attributes.get("options") or "").split(",")
