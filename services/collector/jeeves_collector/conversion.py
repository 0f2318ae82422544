"""Prepared items to Markdown, several at a time, in order; what was converted before comes out of the state."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jeeves_collector.asciidoc.convert import (
    Converted,
    PreparedDocument,
    PreparedPiece,
    assemble,
    convert_piece,
)
from jeeves_collector.asciidoc.pandoc import PandocPool, find_pandoc
from jeeves_collector.state import CollectorState
from jeeves_collector.tree import TreeItem

_AHEAD = 8
"""Documents under way for each pandoc process: enough to keep all busy behind one long document."""


@dataclass(frozen=True)
class ConvertedItem:
    """A document as Markdown.

    Attributes:
        item: what was read.
        markdown: the text; code in fences.
        unconverted: sections that pandoc could not convert, and that stayed AsciiDoc.
    """

    item: TreeItem
    markdown: str
    unconverted: int


_Results = dict[str, Converted]


class Conversion:
    """Converts the items of a source.

    Args:
        state: remembers conversions.
        processes: pandoc processes at the same time.
        timeout_seconds: of one section.

    Raises:
        NotReady: pandoc is missing or too old.
    """

    def __init__(self, state: CollectorState, processes: int, timeout_seconds: float) -> None:
        self._state = state
        self._processes = processes
        self._timeout_seconds = timeout_seconds
        self._pandoc = find_pandoc()

    def convert(self, items: Iterable[TreeItem]) -> Iterator[ConvertedItem]:
        """Convert items; results come in the order of the items."""
        waiting: deque[tuple[TreeItem, _Results, Future[_Results] | None]] = deque()
        with (
            PandocPool(self._pandoc, self._processes, self._timeout_seconds) as pool,
            ThreadPoolExecutor(self._processes, thread_name_prefix="pandoc") as threads,
        ):
            try:
                for item in items:
                    known, missing = self._look_up(item)
                    future = threads.submit(_convert_pieces, missing, pool) if missing else None
                    waiting.append((item, known, future))
                    while len(waiting) > _AHEAD * self._processes:
                        yield self._finished(*waiting.popleft())
                while waiting:
                    yield self._finished(*waiting.popleft())
            finally:
                # A cancelled job does not wait for what nobody will read.
                threads.shutdown(wait=False, cancel_futures=True)

    def _look_up(self, item: TreeItem) -> tuple[_Results, dict[str, PreparedPiece]]:
        if not isinstance(item.body, PreparedDocument):
            return {}, {}
        pieces = {piece.key(self._pandoc.fingerprint): piece for piece in item.body.pieces}
        known = {key: Converted.from_row(row) for key, row in self._state.conversions(list(pieces)).items()}
        return known, {key: piece for key, piece in pieces.items() if key not in known}

    def _finished(self, item: TreeItem, known: _Results, future: Future[_Results] | None) -> ConvertedItem:
        if isinstance(item.body, str):
            return ConvertedItem(item, item.body, 0)
        if future is not None:
            new = future.result()
            self._state.keep_conversions({key: converted.to_row() for key, converted in new.items()})
            known |= new
        results = [known[piece.key(self._pandoc.fingerprint)] for piece in item.body.pieces]
        return ConvertedItem(
            item, assemble(item.title, item.body.pieces, results), sum(result.failed for result in results)
        )


def _convert_pieces(pieces: Mapping[str, PreparedPiece], pool: PandocPool) -> _Results:
    return {key: convert_piece(piece, pool) for key, piece in pieces.items()}
