"""A suite's questions to the running gateway."""

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from jeeves_cli.client import ServiceClient
from jeeves_cli.exits import ServiceUnreachable
from jeeves_cli.suites.log_lines import telling_lines
from jeeves_shared.contracts.answers import Citation

ANSWER_TIMEOUT_SECONDS = 180.0
PATIENCE_SECONDS = 300.0
"""Longest time that one case waits for a gateway that says when to come back, or that restarts."""

_IMPATIENCE = 0.1
"""After a case that waited in vain the next ones wait for this share of the time, until one is answered."""

_BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses where the gateway does not say how long."""

LOG_QUESTION_CHARACTERS = 4000
"""Of a log inside a chat question: some 1,100 tokens."""


@dataclass(frozen=True)
class Reply:
    """What the gateway said.

    Attributes:
        text: as a person reads it.
        quoted: lines of the log that a diagnosis rests on: mentioned, but not claimed.
        passages_taken: how many given passages the gateway put among the retrieved ones.
        error: why there is no answer; empty if there is one.
    """

    text: str = ""
    quoted: str = ""
    citations: tuple[Citation, ...] = ()
    rung: str = ""
    model: str = ""
    response_id: str = ""
    refused: bool = False
    reasons: tuple[str, ...] = ()
    passages_taken: int = 0
    seconds: float = 0.0
    error: str = ""


class SuiteGateway:
    """The running gateway, as a suite asks it.

    Args:
        client: knows its address and key.
        patience_seconds: as `PATIENCE_SECONDS`.
    """

    def __init__(self, client: ServiceClient, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._client = client
        self._patience_seconds = self._left_patience_seconds = patience_seconds
        self._reached = False
        self._closed = threading.Event()
        self._http = httpx.Client(
            base_url=client.url,
            headers=client.headers,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_SECONDS, connect=5.0),
            trust_env=client.trust_env,
        )
        self.can_diagnose = True

    @property
    def url(self) -> str:
        """Its address."""
        return self._client.url

    def close(self) -> None:
        """Close the connections; a case that waits gives up."""
        self._closed.set()
        self._http.close()

    def ask(self, question: str, document: str | None = None) -> Reply:
        """One question of its own conversation.

        Args:
            question: as a user would type it.
            document: to be put among the retrieved passages; needs a key with the scope `operate`.

        Raises:
            ServiceUnreachable: no gateway at the address.
        """
        body: dict[str, Any] = {"model": "jeeves", "messages": [{"role": "user", "content": question}]}
        if document:
            body["jeeves"] = {"passages": [{"title": "Document", "text": document}]}
        started = time.monotonic()
        answer = self._patiently("/v1/chat/completions", json=body)
        seconds = time.monotonic() - started
        if isinstance(answer, str):
            return Reply(error=answer, seconds=seconds)
        reply = _chat_reply(answer, seconds)
        if document and not reply.passages_taken and not reply.error:
            return Reply(error="this gateway puts no given passages into a prompt: upgrade it", seconds=seconds)
        return reply

    def diagnose(self, question: str, log: bytes) -> Reply:
        """One log: by `POST /v1/diagnose`, or as a question with its telling lines where the gateway has no such route.

        Raises:
            ServiceUnreachable: no gateway at the address.
        """
        started = time.monotonic()
        if self.can_diagnose:
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            answer = self._patiently("/v1/diagnose", content=log, headers=headers)
            if not isinstance(answer, str):
                return _diagnosis_reply(answer, time.monotonic() - started)
            if answer != _NO_SUCH_ROUTE:
                return Reply(error=answer, seconds=time.monotonic() - started)
            self.can_diagnose = False
        lines = telling_lines(log.decode("utf-8", errors="replace"), LOG_QUESTION_CHARACTERS)
        return self.ask(f"{question}\n\n{lines}")

    def _patiently(self, path: str, **request: Any) -> dict[str, Any] | str:
        """The JSON of an answer, or why there is none; comes back when the gateway says so, or is back."""
        deadline = time.monotonic() + self._left_patience_seconds
        attempt = 0
        while True:
            try:
                response = self._http.post(path, **request)
            except httpx.TimeoutException:
                return f"no answer within {ANSWER_TIMEOUT_SECONDS:.0f} s"
            except httpx.TransportError as exc:
                if not self._reached:
                    raise ServiceUnreachable("gateway", self._client.url) from exc
                wait = _backoff(attempt)
                content: dict[str, Any] | str = f"the connection broke ({type(exc).__name__})"
            else:
                self._reached = True
                content = _content(response)
                told = _wait_seconds(response, attempt)
                if told is None:
                    self._left_patience_seconds = self._patience_seconds
                    return content
                wait = told
            if time.monotonic() + wait > deadline or self._closed.wait(wait):
                self._left_patience_seconds = self._patience_seconds * _IMPATIENCE
                return content
            attempt += 1


_NO_SUCH_ROUTE = "the gateway has no such route"


def _backoff(attempt: int) -> float:
    return _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS) - 1)]


def _wait_seconds(response: httpx.Response, attempt: int) -> float | None:
    if response.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
        return None
    told = response.headers.get("Retry-After")
    if told is None:
        return _backoff(attempt) if response.status_code == httpx.codes.TOO_MANY_REQUESTS else None
    try:
        return max(0.5, float(told))
    except ValueError:
        pass
    try:
        return max(0.5, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return _backoff(attempt)


def _content(response: httpx.Response) -> dict[str, Any] | str:
    if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        return _NO_SUCH_ROUTE
    try:
        body = response.json()
    except ValueError:
        return f"the gateway answered {response.status_code}: {response.text[:200]}"
    if not isinstance(body, dict):
        return f"the gateway answered {response.status_code}: {response.text[:200]}"
    if response.is_error:
        error = body.get("error")
        return str(error.get("message") if isinstance(error, dict) else body.get("detail", response.text[:200]))
    return body


def _chat_reply(body: dict[str, Any], seconds: float) -> Reply:
    extension = body.get("jeeves") or {}
    try:
        text = str(body["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        return Reply(error=f"no chat completion: {str(body)[:200]}", seconds=seconds)
    return Reply(
        text=text,
        citations=_citations(extension),
        rung=str(extension.get("rung", "")),
        model=str(extension.get("model_version") or body.get("model", "")),
        response_id=str(extension.get("response_id") or body.get("id", "")),
        refused=bool(extension.get("refused", False)),
        reasons=tuple(extension.get("reasons", ())),
        passages_taken=int(extension.get("given_passages", 0)),
        seconds=seconds,
    )


def _diagnosis_reply(body: dict[str, Any], seconds: float) -> Reply:
    findings = body.get("findings") or {}
    told = [findings.get("cause"), *findings.get("fix", ()), body.get("explanation")]
    return Reply(
        text="\n".join(str(part) for part in told if part),
        quoted="\n".join(str(line.get("text", "")) for line in findings.get("evidence", ())),
        citations=_citations(body),
        rung=str(body.get("rung", "")),
        model=str(body.get("model", "")),
        response_id=str(body.get("id", "")),
        reasons=tuple(body.get("reasons", ())),
        seconds=seconds,
    )


def _citations(extension: dict[str, Any]) -> tuple[Citation, ...]:
    found = extension.get("citations") or []
    fields = Citation.model_fields
    rows = [{name: item[name] for name in fields if name in item} for item in found]
    return tuple(Citation.model_validate({"number": number, **row}) for number, row in enumerate(rows, start=1))
