"""Where a brace or a quote is missing: Groovy itself notices it at the end of the file only."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z)|\#![^\n]*)
      | (?P<long>'{3}(?:\\.|[^\\])*?'{3}|\"{3}(?:\\.|[^\\])*?\"{3})
      | (?P<open_text>'{3}|\"{3})
      | (?P<text>'(?:\\.|[^\\'\n])*'|"(?:\\.|\$\{(?:[^{}"\n]|"[^"\n]*")*\}|[^\\"\n])*")
      | (?P<slashy>(?<=[(,=~\[])\s*/(?![*/])(?:\\.|[^\\/\n])+/)
      | (?P<opener>[{(\[])
      | (?P<closer>[})\]])
      | (?P<line>\n[ \t]*)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"{": "}", "(": ")", "[": "]"}


@dataclass(frozen=True)
class Gap:
    """A sign that is missing, or one too many.

    Attributes:
        line: where, 1-based.
        message: for a person.
    """

    line: int
    message: str


@dataclass(frozen=True)
class _Opened:
    sign: str
    line: int
    indent: int
    text: str


def find_gap(text: str, *, at_end: bool) -> Gap | None:
    """The first sign that is missing or too many; None if neither the signs nor the indentation tell.

    Args:
        text: a file that Groovy cannot read.
        at_end: Groovy read on to the end of the file.
    """
    lines = text.splitlines()
    waiting: list[_Opened] = []
    suspect: Gap | None = None
    number, fresh = 1, True
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup or "", token.group()
        line = lines[number - 1] if number <= len(lines) else ""
        indent = len(line) - len(line.lstrip())
        if kind == "open_text":
            return Gap(number, f"{value} is missing: the text that begins here has no end.") if at_end else None
        if fresh and kind not in {"line", "comment"} and not value.isspace() and waiting and suspect is None:
            suspect = _suspect(number, indent, value, waiting[-1], at_end)
        fresh = kind == "line" or (fresh and value.isspace())
        if kind == "opener":
            waiting.append(_Opened(value, number, indent, line.strip()[:60]))
        elif kind == "closer" and not waiting:
            return suspect or Gap(number, f"{value} closes nothing.")
        elif kind == "closer" and _CLOSES[waiting[-1].sign] != value:
            opened = waiting[-1]
            if opened.sign == "{":
                return None
            return Gap(opened.line, f"{_CLOSES[opened.sign]} is missing in this line: {opened.text}")
        elif kind == "closer":
            waiting.pop()
        number += value.count("\n")
    return suspect if waiting and at_end else None


def _suspect(number: int, indent: int, first: str, opened: _Opened, at_end: bool) -> Gap | None:
    """What a line's indentation says of the block around it."""
    if opened.sign != "{" or number == opened.line:
        return None
    if not at_end:
        surplus = first == "}" and indent > opened.indent
        return (
            Gap(number, f"One }} too many, here or above: it closes what line {opened.line} opens.")
            if surplus
            else None
        )
    if indent > opened.indent or first == "{" or (first == "}" and indent == opened.indent):
        return None
    return Gap(number, f"}} is missing before this line: what line {opened.line} opens ({opened.text}) has no end.")
