"""Source `stackexchange-file`: the dump's `Posts.xml`, or the CSV of a Data Explorer query.

The file is read as a stream. Questions that are wanted, and their answers, go into a small database beside the ledger;
when all was read, threads come out of it in order. Memory does not grow with the file.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.parallel import map_in_order
from jeeves_collector.sources.post_reading import Reading, read_posts
from jeeves_collector.sources.post_rows import csv_rows, xml_rows
from jeeves_collector.sources.posts import from_row, thread, wanted
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.staged_posts import StagedPosts, StagedThread
from jeeves_collector.sources.threads import document
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.sources import StackExchangeFileSource
from jeeves_shared.errors import SourceUnusable

_PAGE_QUESTIONS = 50
_READ_SHARE = 0.5
"""Of the progress; the rest is for the threads."""


class StackExchangeFile:
    """Reads a file of posts.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: StackExchangeFileSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self.figures = FetchFigures()
        self._path = Path(source.location).expanduser()
        self._xml = self._path.suffix.lower() == ".xml"

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """First the rows, without items; then the threads."""
        try:
            stat = self._path.stat()
        except OSError as exc:
            raise SourceUnusable(
                f"{self._path} cannot be read ({exc.strerror}): give Posts.xml or a CSV file."
            ) from exc
        file = {"bytes": stat.st_size, "changed": stat.st_mtime_ns}
        if past.watermark.get("file") == file:
            yield Finished(past.watermark, all_unchanged=True)
            return
        path = self._workplace.layout.staged / f"{content_hash(self._source)[:32]}.sqlite"
        cursor = past.cursor
        if cursor is None or cursor["file"] != file or "reading" not in cursor or not path.is_file():
            cursor = {"file": file, "reading": asdict(Reading()), "after": -1}
        with StagedPosts(path, fresh=cursor is not past.cursor) as staged:
            if cursor["after"] < 0:
                for page in self._read(staged, Reading(**cursor["reading"])):
                    yield Page(page.items, (), {**cursor, **(page.cursor or {})}, page.done, page.message)
            for made in self._threads(staged, max(int(cursor["after"]), 0), past):
                place = {**cursor, "after": made.after}
                yield Page(made.items, made.unchanged, place, 0.9, f"question {made.after}")
            yield Finished({"file": file})
            staged.remove()

    def emptiness(self, drops: Counter[str]) -> str:
        """No question matches."""
        wanted_tags = f" with {' or '.join(self._source.tags)}" if self._source.tags else ""
        return f"{self._path} holds no question{wanted_tags} that is wanted (left out: {counted(drops)}): check `tags`."

    def _read(self, staged: StagedPosts, start: Reading) -> Iterator[Page]:
        tags = [tag.lower() for tag in self._source.tags]
        reading = start
        for reading in read_posts(self._path, xml_rows if self._xml else csv_rows, tags, staged, start):
            yield Page(
                cursor={"reading": asdict(reading)},
                done=_READ_SHARE * reading.done,
                message=f"{self._path.name}, {reading.done:.0%} read",
            )
        where = f"{self._source.name}/{self._path.name}"
        faults = [reading.damage, f"{reading.damaged_rows} rows without a number" if reading.damaged_rows else ""]
        drops = tuple(Drop(where, DropReason.ENTRY_INVALID.value, fault) for fault in faults if fault)
        yield Page((Item("\0file", "", drops=drops),) if drops else (), cursor={"after": 0})

    def _threads(self, staged: StagedPosts, after: int, past: Past) -> Iterator["_MadePage"]:
        maker = _ThreadMaker(
            name=self._source.name,
            site=self._source.site_address.rstrip("/"),
            route="dump" if self._xml else "data-explorer",
            score_min=self._source.score_min,
            accepted_only=self._source.accepted_only,
            retrieved_at=self._workplace.retrieved_at,
        )
        tasks = _to_make(staged, after, past)
        return map_in_order(maker.page, tasks, self._workplace.settings.collector_pandoc_processes)


@dataclass(frozen=True)
class _ToMake:
    """Threads that follow each other: those that changed, with their revisions; and the names of the others."""

    changed: tuple[tuple[str, StagedThread], ...]
    unchanged: tuple[str, ...]
    after: int


@dataclass(frozen=True)
class _MadePage:
    items: tuple[Item, ...]
    unchanged: tuple[str, ...]
    after: int


def _to_make(staged: StagedPosts, after: int, past: Past) -> Iterator[_ToMake]:
    while threads := staged.threads(after, _PAGE_QUESTIONS):
        after = threads[-1].number
        revisions = [content_hash([one.question, one.answers]) for one in threads]
        known = [past.revision(str(one.number)) for one in threads]
        yield _ToMake(
            tuple(
                (revision, one)
                for revision, before, one in zip(revisions, known, threads, strict=True)
                if revision != before
            ),
            tuple(
                str(one.number)
                for revision, before, one in zip(revisions, known, threads, strict=True)
                if revision == before
            ),
            after,
        )


@dataclass(frozen=True)
class _ThreadMaker:
    """Rows to documents, without anything of the job: this may happen in another process."""

    name: str
    site: str
    route: str
    score_min: int
    accepted_only: bool
    retrieved_at: datetime

    def page(self, task: _ToMake) -> _MadePage:
        return _MadePage(
            tuple(self._item(revision, staged) for revision, staged in task.changed), task.unchanged, task.after
        )

    def _item(self, revision: str, staged: StagedThread) -> Item:
        key = str(staged.number)
        try:
            question = from_row(json.loads(staged.question))
            told = [from_row(json.loads(text)) for text in staged.answers]
            wanted(question, told, self.score_min, self.accepted_only)
            made, blocks = thread(question, told, name=self.name, site=self.site, route=self.route)
        except Dropped as exc:
            return Item(key, revision, drops=(Drop.of(f"{self.name}/{key}", exc),))
        content = document(made, self.retrieved_at)
        return Item(key, revision, (content,), code_blocks=blocks)
