"""Console logs as text: without what Jenkins and terminals put between the words.

Source: hudson.console.ConsoleNote (`ESC[8mha:` Base64 `ESC[0m`); ECMA-48 (control sequences);
plugins.jenkins.io/timestamper (times in front of lines).
"""

import re

_NOTE = re.compile(rb"\x1b\[8mha:[A-Za-z0-9+/=]*\x1b\[0m")
_TORN_NOTE = re.compile(rb"^[A-Za-z0-9+/=]{40,}\x1b\[0m|\x1b\[8mha:[A-Za-z0-9+/=]*$")
"""At the edges of a log of which a part is missing."""
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_OTHER_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TIMES = (
    re.compile(r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?Z?)\] ?"),
    re.compile(r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?) {1,2}"),
    re.compile(r"^\[?(\d\d:\d\d:\d\d(?:[.,]\d+)?)\]? {1,2}"),
)
_TIMED_SHARE = 0.5
_REPEATS_MIN = 4


def clean_log(data: bytes) -> str:
    """A console log for people and models.

    Args:
        data: as on disk or as served.

    Returns:
        Lines without ConsoleNotes, control sequences, and overwritten progress; times in front of lines folded into one
        line that says from when to when; runs of equal lines folded.
    """
    data = _TORN_NOTE.sub(b"", _NOTE.sub(b"", data))
    text = _ANSI.sub("", data.decode("utf-8", errors="replace")).replace("\r\n", "\n")
    # A progress bar goes back to the line's beginning; what was last there is what one sees.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    lines = [_OTHER_CONTROLS.sub("", line).rstrip() for line in lines]
    return "\n".join(_fold_repeats(_fold_times(lines))).strip("\n")


def _fold_times(lines: list[str]) -> list[str]:
    written = [line for line in lines if line]
    for pattern in _TIMES:
        times = [found[1] for line in written if (found := pattern.match(line))]
        if times and len(times) >= _TIMED_SHARE * len(written):
            folded = [pattern.sub("", line) for line in lines]
            return [f"[from {times[0]} to {times[-1]}]", *folded]
    return lines


def _fold_repeats(lines: list[str]) -> list[str]:
    folded: list[str] = []
    run = 0
    for number, line in enumerate(lines):
        run = run + 1 if number and line == lines[number - 1] else 1
        last = number + 1 == len(lines) or lines[number + 1] != line
        if run < _REPEATS_MIN:
            folded.append(line)
        elif last and line:
            folded.append(f"[the line above {run - _REPEATS_MIN + 1} more times]")
    return folded
