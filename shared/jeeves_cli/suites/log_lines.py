"""The telling lines of a console log: what a question can hold of it."""

import re
from collections.abc import Sequence

_CONSOLE_NOTE = re.compile(r"\x1b\[8mha:.*?\x1b\[0m")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIMESTAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\]?\s*")
_TELLING = re.compile(
    r"(?i)\berror\b|\bfail(?:ed|ure|ing)?\b|exception|\bfatal\b|caused by|cannot |could not |couldn't |not found"
    r"|no such |denied|unable to|unexpected|undefined|unresolved|refused|timed? ?out|killed|aborted|expecting|@ line"
)
_LAST_LINES = 6


def clean_lines(text: str) -> list[str]:
    """Lines without Jenkins' hidden console notes, colours and time stamps."""
    bare = _ESCAPE.sub("", _CONSOLE_NOTE.sub("", text))
    return [_TIMESTAMP.sub("", line).rstrip() for line in bare.splitlines()]


def telling_lines(text: str, limit_characters: int) -> str:
    """The lines that say what went wrong, in order, each with the one after it; the end of the log always.

    Args:
        text: the log.
        limit_characters: at least 200.

    Returns:
        The first of several equal lines only; `…` stands for what is left out.
    """
    lines = clean_lines(text)
    wanted = {number for number, line in enumerate(lines) if line.strip()}
    if sum(len(lines[number]) + 1 for number in wanted) > limit_characters:
        seen: set[str] = set()
        telling = {number for number in wanted if _TELLING.search(lines[number]) and not _repeated(lines[number], seen)}
        wanted &= {*telling, *(number + 1 for number in telling), *sorted(wanted)[-_LAST_LINES:]}
    return _joined(lines, _within(lines, sorted(wanted), limit_characters))


def _repeated(line: str, seen: set[str]) -> bool:
    key = re.sub(r"\d+", "0", line.strip())
    known = key in seen
    seen.add(key)
    return known


def _within(lines: Sequence[str], wanted: Sequence[int], limit_characters: int) -> list[int]:
    """The last ones of the wanted lines that fit: a build's last error is the one that ended it."""
    kept: list[int] = []
    left = limit_characters
    for number in reversed(wanted):
        left -= len(lines[number]) + 3
        if left < 0:
            break
        kept.insert(0, number)
    return kept


def _joined(lines: Sequence[str], wanted: Sequence[int]) -> str:
    out: list[str] = []
    before = -1
    for number in wanted:
        skipped = any(lines[between].strip() for between in range(before + 1, number))
        out += ["…"] if skipped else []
        out.append(lines[number])
        before = number
    return "\n".join(out)
