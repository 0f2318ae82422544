"""Schedules as Jenkins reads them: five fields with `H`, aliases, one schedule a line."""

import re

_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
_ALIASES = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_TERM = re.compile(
    r"(?:\*|H(?:\((?P<low>\d+)-(?P<high>\d+)\))?|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>\d+))?\Z"
)


def fault_of(text: str) -> str:
    """What is wrong with a schedule; empty if nothing.

    Args:
        text: lines of `MINUTE HOUR DOM MONTH DOW`, an alias, `TZ=zone` in the first line, comments with `#`; empty
            for no schedule.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    for number, line in enumerate(lines):
        if not line or line.startswith("#") or line in _ALIASES or (number == 0 and line.startswith("TZ=")):
            continue
        fields = line.split()
        if len(fields) != len(_FIELDS):
            return f"A schedule has 5 fields (minute, hour, day, month, day of the week), not {len(fields)}: {line!r}"
        for field, (name, low, high) in zip(fields, _FIELDS, strict=True):
            if fault := _fault_of_field(field, name, low, high):
                return fault
    return ""


def _fault_of_field(field: str, name: str, low: int, high: int) -> str:
    for term in field.split(","):
        match = _TERM.match(term)
        if match is None:
            return f"{term!r} is no {name} of a schedule: expected a number, *, H, a-b or /step"
        ends = [int(match[part]) for part in ("low", "high", "first", "last") if match[part]]
        outside = [end for end in ends if not low <= end <= high]
        if outside:
            return f"{outside[0]} is no {name} of a schedule: it goes from {low} to {high}"
        if ends != sorted(ends):
            return f"{term!r} goes backwards"
        if match["step"] == "0":
            return f"{term!r} has a step of 0"
    return ""
