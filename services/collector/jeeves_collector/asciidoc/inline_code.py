"""Inline code passes through pandoc's reader as one word.

The reader would cut `` `a b` `` into one code span a word, and would set dashes and quotes inside. So each character
that could mean something is moved into a private block of Unicode here, and back in `convert.lua`, before the writer.
"""

import html
import re

_FIRST = 0xE000
"""Unicode's Private Use Area; nothing that people write uses it."""
_SHIELD = {code: _FIRST + code for code in range(0x20, 0x7F) if not chr(code).isalnum()}
_UNSHIELD = {shielded: code for code, shielded in _SHIELD.items()}
_MARGIN = chr(_FIRST + 0x7F)
_SHIELD_MARKS = {code: shielded for code, shielded in _SHIELD.items() if code != ord(" ")}
_SPAN = re.compile(
    r"(?<![\w`\\\"'])(?P<marks>`{1,2})(?P<content>[^\s`](?:[^`\n]*(?:\n[^`\n]+)?[^\s`])?)(?P=marks)(?![\w`])"
)
_BRACKETED_ITEM = re.compile(r"^(?P<mark>[*.-]+ )\[(?P<text>[^\[\]\n]*)\]$", re.MULTILINE)
_PASSED = re.compile(r"\+\+\+(.*?)\+\+\+", re.DOTALL)
_INVISIBLE = re.compile(r"<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_ESCAPED = re.compile(r"\\([{|*_#]|<(?=<))")
_MACRO = re.compile(r"(?:xref|link|pass|image|kbd|btn|menu):\S*\[|https?://\S+\[|<<")


def shield(text: str) -> str:
    """Make each code span of a piece of AsciiDoc one word of letters, and inline passthroughs plain text."""
    if "+++" in text:
        text = re.sub(rf"{_MARGIN}\s*", "", _PASSED.sub(_passed, text))
    # pandoc takes a list item that is one bracket for the attributes of a block, and gives up.
    text = _BRACKETED_ITEM.sub(
        lambda found: f"{found['mark']}{chr(_SHIELD[ord('[')])}{found['text']}{chr(_SHIELD[ord(']')])}", text
    )
    return _SPAN.sub(_shielded, text) if "`" in text else text


def _passed(found: re.Match[str]) -> str:
    text = html.unescape(_TAG.sub("", _INVISIBLE.sub("", found[1]))).translate(_SHIELD_MARKS)
    text = re.sub(r"\s*\n\s*", "\n", text)
    # A blank at the margin would make the paragraph a literal one.
    at_margin = found.start() == 0 or found.string[found.start() - 1] == "\n"
    return f"{_MARGIN}{text}" if at_margin else text


def _shielded(found: re.Match[str]) -> str:
    content = found["content"].replace("\n", " ")
    if _MACRO.search(content):
        return f"`{content.replace(' ', chr(_SHIELD[ord(' ')]))}`"
    if len(content) > 2 and content[0] == content[-1] == "+":
        content = content[1:-1]
    literal = _ESCAPED.sub(r"\1", content)
    return f"`{literal.translate(_SHIELD)}`"


def unshield(text: str) -> str:
    """Undo `shield`, for text that pandoc did not convert."""
    return text.translate(_UNSHIELD)
