"""Code leaves the text before pandoc reads it and comes back untouched.

In its place stands a placeholder. pandoc decides where the block belongs (in which list item, quote or cell); the text
itself never passes through a reader or a writer that could re-flow, unindent or escape it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"JEEVESCODE(\d+)X")
_FENCED = re.compile(
    r"^(?P<prefix>.*?)`{3,}[^\n]*\n(?P<inner>[ \t>]*)JEEVESCODE(?P<number>\d+)X\n[ \t>]*`{3,}[ \t]*$", re.MULTILINE
)


@dataclass(frozen=True)
class CodeBlock:
    """A block of code or of literal text.

    Attributes:
        language: as in the source; empty for literal text.
        text: without a final line end.
    """

    language: str
    text: str


class CodeLost(Exception):
    """The converted text does not hold each code block of its source once."""


def placeholder(number: int) -> str:
    """What stands for the code block of that number, in its piece of the document."""
    return f"JEEVESCODE{number}X"


def fence(block: CodeBlock, prefix: str = "", first_prefix: str | None = None) -> str:
    """A code block as a fence that its own backticks cannot close.

    Args:
        block: the code.
        prefix: indentation and quote marks of each line.
        first_prefix: of the opening line, where that differs (the bullet of a list item).
    """
    longest = max((len(run) for run in re.findall(r"`{3,}", block.text)), default=2)
    marks = "`" * max(longest + 1, 3)
    lines = block.text.split("\n")
    body = "\n".join(f"{prefix}{line}" if line else prefix.rstrip() for line in lines)
    return f"{prefix if first_prefix is None else first_prefix}{marks}{block.language}\n{body}\n{prefix}{marks}"


def restore(markdown: str, blocks: Sequence[CodeBlock]) -> str:
    """Put the code back into the converted text.

    Raises:
        CodeLost: a block is missing, stands there twice, or is not fenced.
    """
    numbers = sorted(int(number) for number in _PLACEHOLDER.findall(markdown))
    fenced = sorted(int(found["number"]) for found in _FENCED.finditer(markdown))
    if numbers != list(range(len(blocks))) or fenced != numbers:
        raise CodeLost(f"{len(blocks)} code blocks went in, {len(fenced)} came out")
    return _FENCED.sub(
        lambda found: fence(blocks[int(found["number"])], found["inner"], found["prefix"]),
        markdown,
    )


def restore_plain(text: str, blocks: Sequence[CodeBlock]) -> str:
    """Put the code back into text that was not converted: a fence at the margin for each placeholder and its marks."""
    pattern = re.compile(r"^-{4}\nJEEVESCODE(\d+)X\n-{4}$", re.MULTILINE)
    return pattern.sub(lambda found: fence(blocks[int(found[1])]), text)
