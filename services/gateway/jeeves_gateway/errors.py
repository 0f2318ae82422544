"""What can go wrong in the gateway.

JeevesError
├── BadChatRequest           a chat request that cannot be served as it is (400)
│   └── UnknownModel         no such model (404)
├── BodyTooLarge             a body beyond its limit (413)
├── BodyTooSlow              a body that comes too slowly (408)
├── LogUnreadable            a log that cannot be read (422)
├── RateLimited              too many requests of one key or address (429)
├── Overloaded               the queue is full, or the wait too long (503)
├── Unavailable              no rung of the ladder can answer now (503)
├── UpstreamFailed           the engine failed while answering (502)
│   ├── UpstreamStalled      the engine is silent for too long (504)
│   └── AnswerWithheld       the engine's answer must not go out (502)
└── ModelRefused             a model that must not be served (422); `reason` names the check
"""

from typing import ClassVar

from jeeves_shared.errors import JeevesError


class BadChatRequest(JeevesError):
    """A chat request that cannot be served as it is.

    Args:
        detail: what is wrong, and what to send instead.
        param: the field at fault, as OpenAI's error form names it.
    """

    code = "invalid-request"
    title = "Invalid request"
    status = 400

    def __init__(self, detail: str, param: str | None = None) -> None:
        super().__init__(detail)
        self.param = param


class UnknownModel(BadChatRequest):
    """No such model."""

    code = "model-not-found"
    title = "No such model"
    status = 404


class BodyTooLarge(JeevesError):
    """A body beyond its limit."""

    code = "body-too-large"
    title = "Body too large"
    status = 413


class BodyTooSlow(JeevesError):
    """A body that comes too slowly."""

    code = "body-too-slow"
    title = "Body too slow"
    status = 408


class LogUnreadable(JeevesError):
    """A log that cannot be read."""

    code = "log-unreadable"
    title = "Log unreadable"
    status = 422


class Delayed(JeevesError):
    """A refusal for now.

    Args:
        detail: why.
        retry_after_seconds: when to try again, >= 1.
    """

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = max(1, retry_after_seconds)


class RateLimited(Delayed):
    """Too many requests of one key or address."""

    code = "rate-limited"
    title = "Too many requests"
    status = 429


class Overloaded(Delayed):
    """The queue in front of the engine is full, or the wait was too long."""

    code = "overloaded"
    title = "Overloaded"
    status = 503


class Unavailable(Delayed):
    """No rung of the ladder can answer now."""

    code = "unavailable"
    title = "No answer possible now"
    status = 503


class UpstreamFailed(JeevesError):
    """The engine failed while answering."""

    code = "engine-failed"
    title = "Engine failed"
    status = 502


class UpstreamStalled(UpstreamFailed):
    """The engine is silent for too long."""

    code = "engine-stalled"
    title = "Engine silent"
    status = 504


class AnswerWithheld(UpstreamFailed):
    """The engine's answer must not go out."""

    code = "answer-withheld"
    title = "Answer withheld"


class PromptTooLong(UpstreamFailed):
    """The engine says that the prompt exceeds its context; the engine itself is well."""

    code: ClassVar[str] = "prompt-too-long"
    title: ClassVar[str] = "Prompt too long"
    status: ClassVar[int] = 400


class ModelRefused(JeevesError):
    """A model that must not be served; the old one goes on.

    Args:
        reason: machine-readable name of the check that failed.
        detail: what does not match, and the remedy.
    """

    code = "model-refused"
    title = "Model refused"
    status = 422

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail, (reason,))
        self.reason = reason
