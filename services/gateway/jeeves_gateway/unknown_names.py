"""Names in a question that the sources do not know: identifiers, and plugins by their titles."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from jeeves_shared.contracts.documents import Passage

_PLUGIN = re.compile(
    r"\b(?:the|a|an|my|our) (?:Jenkins )?(?P<before>(?:[A-Z][\w+-]*\s){1,5})plug-?in\b"
    r"|\b[Pp]lug-?in (?:called |named )?[\"“'‘`](?P<after>[A-Z][\w+-]*(?: [\w+-]+){0,5})[\"”'’`]"
)
_EXCEPTION = re.compile(r"\w[\w.]*\.(\w+(?:Exception|Error))$")
_NESTED = re.compile(r"\b(?:options|triggers|parameters|tools|libraries)\s*\{\s*([A-Za-z]\w*)")
"""Plugins bring names of their own into these blocks, so that the sources are asked, not the catalog."""
_CODE_END = re.compile(r"[\s({:=\[]")


class KnownIdentifiers(Protocol):
    """What is asked of an index."""

    def unknown_identifiers(self, question: str) -> list[str]:
        """Identifiers of a question that occur nowhere."""


def unknown_names(question: str, index: KnownIdentifiers, found: Iterable[Passage]) -> tuple[str, ...]:
    """Names of a question that occur nowhere, as they are to be shown.

    Args:
        question: as it was searched.
        index: knows identifiers. An exception is known by its class, whatever its package.
        found: what was found for the question: a plugin that the sources speak of is named there.
    """
    names = [_CODE_END.split(name, maxsplit=1)[0] or name for name in index.unknown_identifiers(question)]
    names = [name for name in names if not _is_known_exception(name, index)]
    names += [name for name in _NESTED.findall(question) if index.unknown_identifiers(f"`{name}`")]
    return tuple(dict.fromkeys((*names, *_unknown_plugins(question, tuple(found)))))


def _is_known_exception(name: str, index: KnownIdentifiers) -> bool:
    match = _EXCEPTION.match(name)
    return match is not None and not index.unknown_identifiers(f"`{match[1]}`")


def _unknown_plugins(question: str, found: Sequence[Passage]) -> list[str]:
    names = [(match["before"] or match["after"]).strip() for match in _PLUGIN.finditer(question)]
    if not names:
        return []
    text = " ".join(f"{passage.title} {passage.section} {passage.text}" for passage in found).casefold()
    return [name for name in names if name.casefold() not in text]
