"""Child processes that never outlive their parent."""

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel kills this process when the thread that started it ends.

    Linux only (`prctl(2)`, PR_SET_PDEATHSIG). Start the child from a thread that lives as long as the parent.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def terminate_with_parent() -> None:
    """As `die_with_parent`, with SIGTERM, for children that have children of their own to stop."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
