"""From a file of posts to the posts that are wanted, resumable at any place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jeeves_collector.drops import Dropped
from jeeves_collector.sources.post_rows import Batch, Place, Sieve
from jeeves_collector.sources.post_sieve import PostSieve
from jeeves_collector.sources.staged_posts import StagedPosts

ReadRows = Callable[[Path, Place, Sieve], Iterator[Batch]]

_PART_BYTES = 32 << 20
"""Read of the file between two places that a resumed run can begin at."""


@dataclass(frozen=True)
class Reading:
    """How far a file was read; all that a resumed run needs to know beside the staged posts.

    Attributes:
        offset, rows: see `Place`.
        last, is_sorted: see `PostSieve`.
        answers_only: in the second pass, which only files need that are not sorted by number.
        damaged_rows: that have no usable number.
        damage: what ended the reading before the file's end; empty if nothing did.
        done: share of the file, in [0, 1].
    """

    offset: int = 0
    rows: int = 0
    last: int = 0
    is_sorted: bool = True
    answers_only: bool = False
    damaged_rows: int = 0
    damage: str = ""
    done: float = 0.0


def read_posts(
    path: Path, read_rows: ReadRows, tags: Sequence[str], staged: StagedPosts, reading: Reading
) -> Iterator[Reading]:
    """Stage the posts that are wanted.

    An answer is younger than its question, so in a file that is sorted by number the question was seen before it. In
    another file, answers may have gone by before their question was known to be wanted: it is read a second time.

    Args:
        path: of the file.
        read_rows: `xml_rows` or `csv_rows`.
        tags: of the questions, in lower case; empty: all posts.
        staged: takes them.
        reading: where to go on.

    Yields:
        How far it is: what stands before that place is staged. The last one is the end of the file.
    """
    end = reading
    for end in _one_pass(path, read_rows, tags, staged, reading):
        yield end
    if tags and not end.is_sorted and not end.answers_only:
        yield from _one_pass(path, read_rows, tags, staged, replace(end, offset=0, rows=0, answers_only=True))


def _one_pass(
    path: Path, read_rows: ReadRows, tags: Sequence[str], staged: StagedPosts, start: Reading
) -> Iterator[Reading]:
    size = max(path.stat().st_size, 1)
    sieve = PostSieve(
        tags, staged.questions(), last=start.last, is_sorted=start.is_sorted, answers_only=start.answers_only
    )
    place, read_bytes, noted = Place(start.offset, start.rows), 0, 0

    def reading(damage: str = start.damage) -> Reading:
        return Reading(
            offset=place.offset,
            rows=place.rows,
            last=sieve.last,
            is_sorted=sieve.is_sorted,
            answers_only=start.answers_only,
            # The second pass meets the same ones again.
            damaged_rows=start.damaged_rows + (0 if start.answers_only else sieve.damaged_rows),
            damage=damage,
            done=min(read_bytes / size, 1.0),
        )

    try:
        for batch in read_rows(path, place, sieve):
            staged.add([post for post in map(sieve.staged, batch.rows) if post])
            place, read_bytes = batch.place, batch.read_bytes
            if read_bytes - noted >= _PART_BYTES:
                noted = read_bytes
                yield reading()
    except Dropped as exc:
        # A damaged file is read up to the damage.
        yield reading(f"near byte {read_bytes}: {exc}")
        return
    yield reading()
