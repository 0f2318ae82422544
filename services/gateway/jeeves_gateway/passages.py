"""What passages hold: their terms, their blocks, their code; and which of them supports a piece of text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from markdown_it import MarkdownIt

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.search.tokens import STOP_WORDS, Token, identifiers, tokens

BlockKind = Literal["paragraph", "list", "quote", "table", "code", "other"]
_KINDS: dict[str, BlockKind] = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "blockquote_open": "quote",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
}
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_BACKTICKED = re.compile(r"`([^`\n]+)`")
_URL = re.compile(r"https?://[^\s)>\]`\"']+")
_COMPOSITE = re.compile(r"[\s<=…]")

SENTENCE_SHARE_MIN = 0.6
"""Share of a sentence's content terms that a passage must hold to be cited for it.

Source: starter pack: 97 % of the reference answers get at least one marker from the passages found for them.
"""
MARKER_TERMS_MIN = 3
"""A sentence with fewer content terms says too little to be attributed."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of Markdown.

    Attributes:
        kind: what it is.
        text: verbatim, fences included.
        code: the inside of a code block; empty for others.
    """

    kind: BlockKind
    text: str
    code: str = ""


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")


@lru_cache(maxsize=512)
def blocks(markdown: str) -> tuple[Block, ...]:
    """The top-level blocks of a Markdown text, verbatim, without headings and HTML."""
    lines = markdown.split("\n")
    found: list[Block] = []
    for token in _parser().parse(markdown):
        if token.level != 0 or token.map is None or token.type.startswith(("heading", "html", "hr")):
            continue
        start, end = token.map
        text = "\n".join(lines[start:end]).strip("\n")
        kind = _KINDS.get(token.type, "other")
        if kind == "code":
            language = token.info.strip().split(" ")[0]
            text = f"```{language}\n{token.content.rstrip()}\n```"
        found.append(Block(kind, text, token.content if kind == "code" else ""))
    return tuple(found)


def content_terms(text: str) -> list[Token]:
    """Tokens of a text that carry meaning; unlike a search's, none at all when there is none."""
    return [token for token in tokens(text) if token.surface.lower() not in STOP_WORDS and len(token.surface) > 1]


def prose(markdown: str) -> str:
    """The text without its code blocks."""
    return _FENCED.sub(" ", markdown)


def without_blanks(text: str) -> str:
    """For comparing code: all blanks out."""
    return "".join(text.split())


class SourceSet:
    """The passages that an answer may rest on.

    Args:
        question: its words need no support.
        passages: best first.
        wholes: the same with the other parts of their sections, for quotations; by default there are none.
    """

    def __init__(self, question: str, passages: Sequence[Passage], wholes: Sequence[Passage] = ()) -> None:
        self.question = question
        self.passages = tuple(passages)
        self.wholes = tuple(wholes) or self.passages
        self._terms = [passage_terms(item) for item in passages]
        self._all_terms = frozenset[str]().union(*self._terms, _terms(question))
        self._plain = [without_blanks(item.text) for item in passages]
        self._literal = without_blanks(
            question + "".join(f"{item.title}{item.section}{item.url}" for item in passages)
        ) + "".join(self._plain)

    def share(self, text: str) -> float:
        """Share of the content terms of a text, in [0, 1], that question and passages hold; 1 for a text without any.

        Code blocks are left out: they are compared literally.
        """
        found = content_terms(prose(text))
        return sum(is_held(token, self._all_terms) for token in found) / len(found) if found else 1.0

    def supporter(self, sentence: str) -> int | None:
        """The passage that supports a sentence best, or None if none does."""
        if not self.passages:
            return None
        found = content_terms(sentence)
        if len(found) < MARKER_TERMS_MIN:
            return None
        shares = [sum(is_held(token, terms) for token in found) / len(found) for terms in self._terms]
        best = max(range(len(shares)), key=lambda index: (shares[index], -index))
        return best if shares[best] >= SENTENCE_SHARE_MIN else None

    def closest(self, text: str) -> int:
        """The passage with the largest share of a text's terms; the first among equals."""
        found = content_terms(prose(text))
        return max(
            range(len(self._terms)), key=lambda index: sum(is_held(token, self._terms[index]) for token in found)
        )

    def invented(self, text: str) -> list[str]:
        """Identifiers, inline code and addresses of a text that stand neither in a passage nor in the question."""
        text = prose(text)
        named = [*identifiers(text), *(span.strip() for span in _BACKTICKED.findall(text)), *_URL.findall(text)]
        return [name for name in dict.fromkeys(named) if not self._knows(name.rstrip(".,;:"))]

    def has_address(self, url: str) -> bool:
        """Whether a passage has an address, in its text or as its own."""
        return any(url in passage.text or url in passage.url for passage in self.passages)

    def quoted_from(self, code: str) -> int | None:
        """The passage that holds a piece of code, whatever its blanks; None if none does."""
        plain = without_blanks(code)
        if not plain:
            return None
        for index, text in enumerate(self._plain):
            if plain in text:
                return index
        # Lines in order, with some left out, are a quotation as well.
        lines = [line for line in map(without_blanks, code.splitlines()) if line]
        for index, text in enumerate(self._plain):
            if all(line in text for line in lines):
                return index
        return None

    def _knows(self, name: str) -> bool:
        literal = without_blanks(name)
        if not literal or literal in self._literal or literal.casefold() in self._literal.casefold():
            return True
        # A command or address with placeholders is known when all that it consists of is.
        return bool(_COMPOSITE.search(name)) and all(is_held(token, self._all_terms) for token in tokens(name))


@lru_cache(maxsize=512)
def _terms(text: str) -> frozenset[str]:
    return frozenset(term for token in tokens(text) for term in (token.term, *token.parts))


def passage_terms(passage: Passage) -> frozenset[str]:
    """Terms of a passage and its titles, with the parts of compounds."""
    return _terms(f"{passage.title}\n{passage.section}\n{passage.text}")


def is_held(token: Token, terms: frozenset[str]) -> bool:
    """Whether a token, or all its parts, are among terms."""
    return token.term in terms or (bool(token.parts) and all(part in terms for part in token.parts))
