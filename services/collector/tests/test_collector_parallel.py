"""Work on several processes: order, bounds, and a process that dies."""

import math
import signal
from collections.abc import Iterator

import pytest

from jeeves_collector.parallel import map_in_order
from jeeves_shared.errors import NotReady


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_tasks_are_taken_as_they_are_needed(processes: int) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_order(math.factorial, tasks(), processes)
    assert [next(results) for _ in range(20)] == [math.factorial(number) for number in range(20)]
    assert len(taken) <= 20 + 2 * processes + 1
    results.close()  # type: ignore[attr-defined]


def test_a_process_that_is_killed_has_a_name() -> None:
    with pytest.raises(NotReady, match="ended by the system"):
        list(map_in_order(signal.raise_signal, [signal.SIGKILL] * 5, 2))


def test_few_tasks_need_no_process() -> None:
    assert list(map_in_order(lambda number: -number, [1, 2], 8)) == [-1, -2]
    assert list(map_in_order(abs, [], 8)) == []
