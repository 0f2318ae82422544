"""What can go wrong with the embedded inference engine and its files.

EngineError                      below JeevesError; the engine cannot be used
├── EngineBinaryMissing          llama-server or the converter is not installed
├── EngineStartFailed            the process ended before it was ready; carries the end of its log
├── EngineNotReady               it runs, but did not get ready in time
└── GgufUnreadable               not a GGUF file, a damaged one, or one without what is asked for
"""

from jeeves_shared.errors import JeevesError


class EngineError(JeevesError):
    """The embedded engine cannot be used."""

    code = "engine"
    title = "Engine unusable"
    status = 503


class EngineBinaryMissing(EngineError):
    """llama-server or the converter is not installed."""

    code = "engine-binary-missing"
    title = "Engine not installed"


class EngineStartFailed(EngineError):
    """The engine's process ended before it was ready.

    Args:
        detail: what happened and what to do.
        log_tail: the last lines that the engine wrote; never sent to a client, since it names paths.
        exit_status: as `subprocess` gives it: negative for a signal; None when no process was made.
    """

    code = "engine-start-failed"
    title = "Engine did not start"

    def __init__(self, detail: str, log_tail: str = "", exit_status: int | None = None) -> None:
        super().__init__(detail)
        self.log_tail = log_tail
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"{self.detail}\n{self.log_tail}" if self.log_tail else self.detail


class EngineNotReady(EngineError):
    """The engine runs, but did not get ready in time."""

    code = "engine-not-ready"
    title = "Engine not ready"


class GgufUnreadable(EngineError):
    """Not a GGUF file, a damaged one, or one that lacks what is asked for."""

    code = "gguf-unreadable"
    title = "Model file unreadable"
    status = 422
