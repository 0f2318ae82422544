"""Exit codes that a Jenkinsfile can act on, and the errors of the command line.

CommandError                     says what is wrong and what to do; ends the command with its exit code
├── ServiceUnreachable           no service at its address
└── JobFailed                    a job ended in `failed` or `cancelled`

Terminated                       SIGTERM; not an error
"""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    GATE_REFUSED = 3
    UNREACHABLE = 4
    JOB_FAILED = 5
    NOT_ANSWERED = 6
    INTERRUPTED = 130


class CommandError(Exception):
    """A command that could not do its work.

    Args:
        detail: for a person, with the remedy.
        code: exit code of the command.
    """

    def __init__(self, detail: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class Terminated(BaseException):
    """SIGTERM: whoever started the command, such as an aborted build, wants it and its job to end."""


class ServiceUnreachable(CommandError):
    """No service at its address."""

    def __init__(self, service: str, url: str) -> None:
        super().__init__(f"The {service} does not answer at {url}: start it with `jeeves up`.", Exit.UNREACHABLE)


class JobFailed(CommandError):
    """A job ended without its result."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}", Exit.JOB_FAILED)
