"""Which page a pair belongs to: the one it names, the copy of it that stayed, or the same page under another name."""

from collections import Counter
from collections.abc import Sequence

from jeeves_shared.contracts.curation import CuratedDocument


class PairHomes:
    """Finds the page of a pair.

    The first part of a path is the name of its source, which is the collector's choice: whoever collects a copy of a
    source under another name, or writes pairs with paths as they are in the source, keeps the pairs. Where two sources
    have such a page it stays open whose it is.

    Args:
        documents: that were curated.
    """

    def __init__(self, documents: Sequence[CuratedDocument]) -> None:
        self._paths = {item.document.source_path for item in documents}
        self._copies = {copy.source_path: item.document.source_path for item in documents for copy in item.copies}
        known = [(path, path) for path in self._paths] + list(self._copies.items())
        tails = Counter(_tail(path) for path, _home in known)
        self._by_tail = {_tail(path): home for path, home in known if tails[_tail(path)] == 1}

    def of(self, path: str) -> str:
        """The page's path; as it was given if there is none."""
        if path in self._paths:
            return path
        names = (self._copies.get(path), self._by_tail.get(path), self._by_tail.get(_tail(path)))
        return next((name for name in names if name), path)


def _tail(path: str) -> str:
    """A path within its source."""
    return path.partition("/")[2]
