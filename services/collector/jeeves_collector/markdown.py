"""Markdown, and the YAML front matter that Markdown and AsciiDoc files begin with."""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from jeeves_collector.drops import Dropped, DropReason

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_MATTER_CHARACTERS_MAX = 16_384
_FENCE = re.compile(r"^(?P<prefix>[ \t>]*(?:[-*+]|\d+[.)])?[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$")


@dataclass(frozen=True)
class FrontMatter:
    """What stands before the text of a file."""

    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The title, or an empty text."""
        title = self.fields.get("title")
        return str(title).strip() if isinstance(title, str | int | float) else ""


def split_front_matter(text: str) -> tuple[FrontMatter, str]:
    """Take YAML front matter off a text.

    Front matter that is not a YAML mapping stays in the text: it may be two rules around a paragraph.
    """
    found = _FRONT_MATTER.match(text)
    if found is None or len(found.group(1)) > _FRONT_MATTER_CHARACTERS_MAX:
        return FrontMatter(), text
    try:
        fields = read_yaml(found.group(1))
    except Dropped:
        return FrontMatter(), text
    if fields is None:
        return FrontMatter(), text[found.end() :]
    if not isinstance(fields, dict):
        return FrontMatter(), text
    return FrontMatter({str(key): value for key, value in fields.items()}), text[found.end() :]


def read_yaml(text: str) -> Any:
    """What a YAML text says: mappings, lists, numbers, texts; it can make nothing else.

    Raises:
        Dropped: it is none, or is nested deeper than anybody writes.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        # ValueError: a date like 2026-13-45.
        raise Dropped(DropReason.ENTRY_INVALID, f"no YAML: {exc}") from exc


def scan_fences(text: str) -> tuple[list[str], list[str]]:
    """Code and prose of a Markdown text.

    Returns:
        The text of each fenced code block, without the indentation of its fence; the lines outside of all blocks.
    """
    blocks: list[str] = []
    prose: list[str] = []
    fence = prefix = ""
    code: list[str] = []
    for line in text.split("\n"):
        if fence:
            stripped = line.strip(" \t>")
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                blocks.append("\n".join(code))
                fence, code = "", []
            else:
                code.append(_without_prefix(line, prefix))
        elif opened := _FENCE.match(line):
            fence, prefix = opened["fence"], opened["prefix"]
        else:
            prose.append(line)
    if fence:
        blocks.append("\n".join(code))
    return blocks, prose


def _without_prefix(line: str, prefix: str) -> str:
    # The fence of a list item's first block stands behind the bullet; its code is indented by as much.
    indent = re.sub(r"[^ \t>]", " ", prefix)
    if line.startswith(indent):
        return line[len(indent) :]
    return line.lstrip(" \t") if not line.startswith(indent.rstrip()) else line[len(indent.rstrip()) :]


def first_heading(text: str) -> str:
    """Text of the first `#` heading outside of code, or an empty text."""
    for line in scan_fences(text)[1]:
        if found := _HEADING.match(line):
            return found.group(1).strip()
    return ""
