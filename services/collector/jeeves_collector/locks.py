"""One job at a time for each source: its items, its unfinished run and its staged files have one owner.

The locks are the kernel's (`flock`): they end with the process that holds them, however it ends.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_POLL_SECONDS = 0.5


@contextmanager
def only_reader(
    folder: Path, sources: Iterable[str], wait: Callable[[float], None], told: Callable[[str], None]
) -> Iterator[None]:
    """The right to read some sources, held while the block runs.

    They are taken in one order by all, so that two jobs never wait for each other.

    Args:
        folder: of the locks.
        sources: keys in the ledger.
        wait: sleeps some seconds; raises when the job is cancelled.
        told: of what it waits for.

    Raises:
        JobCancelled: while waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for source in sorted(set(sources)):
            descriptor = os.open(folder / f"{source}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            held.callback(os.close, descriptor)
            while not _taken(descriptor):
                told("waiting: another collection reads the same source")
                wait(_POLL_SECONDS)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
