"""Pure functions on several processors, results in order, a bounded number of tasks under way."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from jeeves_shared.errors import NotReady
from jeeves_shared.process import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")

_INLINE_TASKS = 2
"""Fewer are done here: starting a process takes as long as some tasks."""
_AHEAD = 2
"""Tasks under way for each process: one that is worked on, one that waits."""


def map_in_order(function: Callable[[Task], Result], tasks: Iterable[Task], processes: int) -> Iterator[Result]:
    """Results of a function, in the order of its tasks.

    Memory is bounded: a task is taken only when an earlier result was given.

    Args:
        function: importable, without effects; it, its tasks and its results are pickled.
        tasks: may be endless.
        processes: at the same time; 1: everything is done in this one.

    Raises:
        NotReady: the system ended one of the processes.
    """
    rest = iter(tasks)
    first = list(islice(rest, _INLINE_TASKS + 1))
    if processes == 1 or len(first) <= _INLINE_TASKS:
        yield from map(function, chain(first, rest))
        return
    under_way: deque[Future[Result]] = deque()
    # Not forked: this process has threads and open databases.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=die_with_parent)
    try:
        for task in chain(first, rest):
            under_way.append(pool.submit(function, task))
            if len(under_way) > _AHEAD * processes:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as exc:
        raise NotReady(
            "A process that converts was ended by the system, perhaps for want of memory: lower "
            "JEEVES_COLLECTOR_PANDOC_PROCESSES and collect again, which goes on from here."
        ) from exc
    finally:
        # A cancelled job does not wait for what nobody will read.
        pool.shutdown(cancel_futures=True)
