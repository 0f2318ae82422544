"""What every source is: something that gives pages of items, from where it was left.

The job writes each page and the place behind it in one transaction. So a source that is killed loses at most the page
in flight, and a source that was read before is asked for what changed since.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from jeeves_collector.drops import Dropped
from jeeves_shared.contracts.documents import Document, Pair

Cursor = dict[str, Any]
"""Where to go on, as JSON; each source has its own form."""


@dataclass(frozen=True)
class Drop:
    """Something that was left out of an item, or the item itself.

    Attributes:
        item: name for people.
        reason: of `DropReason`.
        detail: what was wrong.
    """

    item: str
    reason: str
    detail: str = ""

    @classmethod
    def of(cls, item: str, dropped: Dropped) -> "Drop":
        """From the exception."""
        return cls(item, dropped.reason.value, str(dropped))


@dataclass(frozen=True)
class Item:
    """One thing of a source: a file, a topic, a build.

    Attributes:
        key: that it is known by in the source.
        revision: changes when the item does: an ETag, a time of last activity, a hash.
        content: documents and pairs that it holds; none if it was left out.
        drops: what was left out of it.
        findings: what was left open, by kind and name.
        code_blocks: in its documents.
    """

    key: str
    revision: str
    content: tuple[Document | Pair, ...] = ()
    drops: tuple[Drop, ...] = ()
    findings: dict[str, Counter[str]] = field(default_factory=dict)
    code_blocks: int = 0


@dataclass(frozen=True)
class Page:
    """What is kept or lost together.

    Attributes:
        items: that were read.
        unchanged: keys of items that are as they were.
        cursor: where to go on behind this page; None if the source can only be begun anew.
        done: share of the source, in [0, 1].
        message: for the progress.
    """

    items: Sequence[Item] = ()
    unchanged: Sequence[str] = ()
    cursor: Cursor | None = None
    done: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Finished:
    """The last thing that a source gives.

    Attributes:
        watermark: what the next run needs to know, such as the time of the last activity.
        complete: every item of the source was given or named; those that were not are gone.
        all_unchanged: the source is as it was; nothing was listed.
        source_revision: for the manifest, such as a git commit.
    """

    watermark: Cursor = field(default_factory=dict)
    complete: bool = True
    all_unchanged: bool = False
    source_revision: str = ""


@dataclass(frozen=True)
class Past:
    """What is known of a source.

    Attributes:
        cursor: of a run that did not end; None if there is none.
        watermark: of the last run that did; empty if there is none.
        revision: of an item by key, as it was last read; None if it never was.
        unseen: keys of items that this run has not named so far: those behind a key, in their order, so many at most.
    """

    cursor: Cursor | None
    watermark: Cursor
    revision: Callable[[str], str | None]
    unseen: Callable[[str, int], Sequence[str]]


@dataclass
class FetchFigures:
    """What was asked of others; nothing, for files."""

    requests: int = 0
    fetched_bytes: int = 0
    waited_seconds: float = 0.0


class Source(Protocol):
    """Reads one source of a recipe."""

    VERSION: ClassVar[int]
    """Counts changes of the code after which everything must be read anew."""

    @property
    def figures(self) -> FetchFigures:
        """What was asked of others so far."""
        ...

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """Pages in an order that a resumed run repeats; `Finished` is the last.

        Raises:
            SourceUnusable: it cannot be read at all; what was given is kept.
        """
        ...

    def emptiness(self, drops: Counter[str]) -> str:
        """What to tell somebody whose source gave nothing.

        Args:
            drops: what was left out, by reason.
        """
        ...


def counted(drops: Counter[str]) -> str:
    """`2 empty, 1 stub`, for messages."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(drops.items())) or "nothing"
