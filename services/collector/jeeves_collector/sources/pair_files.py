"""Source `pairs`: questions and answers of our own form, from JSON Lines and CSV."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from jeeves_collector.drops import Dropped
from jeeves_collector.pairs import pair_files, read_pairs
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.contracts.sources import PairsSource


class PairFiles:
    """Reads files of pairs, one file a page.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: PairsSource, workplace: Workplace) -> None:
        self._source = source
        self.figures = FetchFigures()
        self._workplace = workplace

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """All files in order; those with the bytes of the last time are not parsed again."""
        files = pair_files(self._source)
        for done, path in enumerate(files):
            self._workplace.report(done / len(files), path.name)
            key = str(path.relative_to(Path(self._source.location).expanduser())) if len(files) > 1 else path.name
            item = self._read(key, path)
            yield Page(unchanged=(key,)) if past.revision(key) == item.revision else Page((item,))
        yield Finished()

    def _read(self, key: str, path: Path) -> Item:
        found = list(read_pairs(self._source, path))
        pairs: list[Pair] = []
        drops: list[Drop] = []
        digest = hashlib.sha256()
        for one in found:
            if isinstance(one, Dropped):
                drops.append(Drop.of(f"{self._source.name}/{key}", one))
                digest.update(str(one).encode())
            else:
                pairs.append(one)
                digest.update(one.model_dump_json().encode())
        return Item(key, digest.hexdigest(), tuple(pairs), tuple(drops))

    def emptiness(self, drops: Counter[str]) -> str:
        """No line of any file is a pair."""
        return f"{self._source.location} holds no usable pair: a line needs at least question, answer and source_path."
