"""A collection, in the job's own process.

Each source writes its pages into the ledger, together with the place behind them. So a collection that was killed, or
that a quota stopped, goes on where it was and gives the same result; and one that ran before reads what changed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jeeves_collector.layout import CollectorLayout
from jeeves_collector.ledger import Ledger, open_ledger
from jeeves_collector.locks import only_reader
from jeeves_collector.publishing import MANIFEST_KIND, Collected, publish
from jeeves_collector.settings import CollectorSettings
from jeeves_collector.sources.protocol import Finished
from jeeves_collector.sources.registry import is_remote, open_source, source_key
from jeeves_collector.state import CollectorState, open_state
from jeeves_collector.workplace import Workplace
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.collections import CollectionReport, SourceFigures
from jeeves_shared.contracts.manifests import CollectionManifest
from jeeves_shared.contracts.recipes import CollectRecipe
from jeeves_shared.contracts.requests import CollectionRequest
from jeeves_shared.contracts.sources import Source
from jeeves_shared.errors import RecipeError, SourceUnusable
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.settings import load_settings

__all__ = ["MANIFEST_KIND", "collect"]

_READ_SHARE = 0.95
"""Of the progress; the rest is for shards and manifest."""
_NAMES_LOGGED_MAX = 25
_SLEEP_STEP_SECONDS = 0.5
_LANES_MAX = 8
"""Sources that are read at the same time."""
_LOGGED = {
    "unresolved attributes": "unresolved attributes, left in the text",
    "unresolved references": "unresolved references, left as text",
    "unresolved includes": "includes left out",
    "unconverted sections": "sections that pandoc could not convert, left as AsciiDoc",
}


def collect(context: JobContext, request: dict[str, Any]) -> CollectionManifest:
    """Job `collections`: read all sources of a recipe.

    Args:
        context: of the job.
        request: a `CollectionRequest`.

    Raises:
        SourceUnusable: a source that cannot be read or has no usable document; `QuotaExhausted` and `SourceAway` are
            kinds of it after which the next collection goes on where this one stopped.
        RecipeError: two sources of documents, or two of pairs, have one name.
        NotReady: pandoc is missing.
        StorageFull: no space for the shards.
        JobCancelled: on request.
    """
    recipe = CollectionRequest.model_validate(request).recipe
    _refuse_equal_names(recipe)
    layout = CollectorLayout.of_work_dir(context.work_dir)
    wait = partial(_wait, context)
    with (
        # Until the shards are written: what is read of a source is what is published of it.
        only_reader(layout.locks, map(source_key, recipe.sources), wait, partial(context.report, 0.0)),
        open_ledger(layout.ledger) as ledger,
    ):
        ledger.forget_unused()
        collected = _Collecting(context, layout).read(recipe)
        context.report(_READ_SHARE, "writing shards")
        manifest, report = publish(ledger, context.store, collected)
    write_atomic(layout.report(context.job_id), report.model_dump_json().encode())
    _log(context, manifest, report)
    return manifest


def _refuse_equal_names(recipe: CollectRecipe) -> None:
    # Documents of two sources may not share a first part of their paths; pairs have ids of their own.
    counted = Counter(("pairs" if source.type == "pairs" else "documents", source.name) for source in recipe.sources)
    repeated = tuple(f"{kind} {name}" for (kind, name), times in counted.items() if times > 1)
    if repeated:
        raise RecipeError(f"Each source needs a name of its own; given twice: {', '.join(repeated)}.", repeated)


class _OtherLaneFailed(Exception):
    """The job ends anyway: what this lane has read is in the ledger, and the next run goes on from there."""


class _Collecting:
    """Reads the sources of a recipe: those of other hosts side by side, as they mostly wait; files one by one."""

    def __init__(self, context: JobContext, layout: CollectorLayout) -> None:
        self._context = context
        self._layout = layout
        self._settings = load_settings(CollectorSettings)
        self._retrieved_at = self._settings.collector_retrieved_at or datetime.now(UTC).replace(microsecond=0)
        self._progress = threading.Lock()
        self._done: dict[str, float] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._failed = threading.Event()

    def read(self, recipe: CollectRecipe) -> Collected:
        """All sources into the ledger."""
        files = [source for source in recipe.sources if not is_remote(source)]
        # Files first: they need not wait until one of many hosts is through.
        lanes = [*([files] if files else []), *([source] for source in recipe.sources if is_remote(source))]
        self._done = dict.fromkeys(map(source_key, recipe.sources), 0.0)
        with ThreadPoolExecutor(min(len(lanes), _LANES_MAX), thread_name_prefix="source") as pool:
            # Each with the names that log lines carry.
            running = [pool.submit(copy_context().run, self._lane, lane) for lane in lanes]
        errors = [error for one in running if (error := one.exception()) is not None]
        # What made the others stop comes first.
        errors.sort(key=lambda error: isinstance(error, _OtherLaneFailed))
        if errors:
            raise errors[0]
        figures = {key: of_source for one in running for key, of_source in one.result().items()}
        keys = tuple(map(source_key, recipe.sources))
        return Collected(recipe, keys, tuple(figures[key] for key in keys))

    def _lane(self, sources: Sequence[Source]) -> dict[str, SourceFigures]:
        try:
            with open_ledger(self._layout.ledger) as ledger, open_state(self._layout.memory) as state:
                return {source_key(source): self._source(source, ledger, state) for source in sources}
        except BaseException:
            self._failed.set()
            raise

    def _report(self, source: Source, counts: Counter[str], done: float, item: str) -> None:
        with self._progress:
            key = source_key(source)
            self._done[key], self._counts[key] = done, Counter(counts)
            figures = {name: float(value) for name, value in sum(self._counts.values(), Counter()).items()}
            share = _READ_SHARE * sum(self._done.values()) / len(self._done)
            self._context.report(share, f"{source.name}: {item}", **figures)
        self._go_on()

    def _wait(self, seconds: float) -> None:
        _wait(self._context, seconds, self._go_on)

    def _go_on(self) -> None:
        if self._failed.is_set():
            raise _OtherLaneFailed

    def _source(self, source: Source, ledger: Ledger, state: CollectorState) -> SourceFigures:
        counts: Counter[str] = Counter()
        report = partial(self._report, source, counts)
        report(0.0, "looking for what there is")
        reader = open_source(
            source,
            Workplace(self._layout, self._settings, state, self._retrieved_at, self._wait, report),
        )
        key = source_key(source)
        for page in reader.pages(ledger.begin(key)):
            if isinstance(page, Finished):
                ledger.finish(key, page)
                break
            ledger.keep(key, page)
            counts["fetched"] += len(page.items)
            counts["unchanged"] += len(page.unchanged)
            counts["documents"] += sum(len(item.content) for item in page.items)
            report(page.done, page.message)
        documents, pairs = ledger.count(key, "document"), ledger.count(key, "pair")
        if not documents and not pairs:
            drops = Counter(drop.reason for drop in ledger.notes(key).drops)
            ledger.forget(key)
            raise SourceUnusable(reader.emptiness(drops))
        counts.update({"documents": documents - counts["documents"], "pairs": pairs})
        report(1.0, "read")
        remote = reader.figures
        return SourceFigures(
            name=source.name,
            type=source.type,
            documents=documents,
            pairs=pairs,
            requests=remote.requests,
            fetched_bytes=remote.fetched_bytes,
            fetched_items=counts["fetched"],
            unchanged_items=counts["unchanged"],
            waited_seconds=round(remote.waited_seconds, 3),
        )


def _wait(context: JobContext, seconds: float, go_on: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        context.check_cancelled()
        go_on()
        time.sleep(min(left, _SLEEP_STEP_SECONDS))


def _log(context: JobContext, manifest: CollectionManifest, report: CollectionReport) -> None:
    for kind, names in report.findings.items():
        shown = [f"{name} ({number})" for name, number in names.items()]
        more = f" and {len(shown) - _NAMES_LOGGED_MAX} more" if len(shown) > _NAMES_LOGGED_MAX else ""
        context.log(f"{_LOGGED.get(kind, kind)}: {', '.join(shown[:_NAMES_LOGGED_MAX])}{more}")
    diff = report.diff
    if diff.previous_id == manifest.id:
        context.log(f"nothing has changed since {manifest.id}")
    elif diff.previous_id:
        context.log(f"since {diff.previous_id}: {diff.added} added, {diff.changed} changed, {diff.removed} removed")
