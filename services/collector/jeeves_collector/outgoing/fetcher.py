"""Requests with limits: of time, of size, of redirects, and of what a host is asked to bear."""

import email.utils
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter, wait_random

from jeeves_collector.outgoing.errors import (
    AddressRefused,
    RemoteDenied,
    RemoteError,
    RemoteMissing,
    ResponseMalformed,
    ResponseTooLarge,
    SourceAway,
)
from jeeves_collector.outgoing.gate import HostGate
from jeeves_collector.outgoing.network import JudgedTransport
from jeeves_collector.outgoing.robots import Robots

REDIRECTS_MAX = 5
BYTES_MAX = 32 * 1024 * 1024
"""Of a decoded body, where a source says nothing else."""
_MALFORMED_ATTEMPTS = 3
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS = frozenset({"authorization", "cookie", "api-key", "api-username", "x-api-key"})
_REFUSAL_BYTES_MAX = 65_536
_SHORT_CHARACTERS = 200


@dataclass(frozen=True)
class FetchLimits:
    """Patience.

    Attributes:
        response_seconds: for one whole response, however slowly it drips.
        attempts: of one request, those that were refused for their rate apart.
        patience_seconds: of one request with all its retries and pauses.
        backoff_seconds: first pause; doubles, up to 60 s, with as much jitter.
    """

    response_seconds: float = 60.0
    attempts: int = 6
    patience_seconds: float = 900.0
    backoff_seconds: float = 1.0


@dataclass(frozen=True)
class Validators:
    """What a server gave to ask with whether something changed."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """Of a conditional request."""
        pairs = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in pairs.items() if value}


@dataclass(frozen=True)
class Fetched:
    """An answer.

    Attributes:
        url: after redirects.
        status: 200, or 304 where validators were given.
        headers: with names in lower case.
        body: decoded; empty for 304.
        cut: there was more than `bytes_max`, and the caller wanted the beginning only.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False

    @property
    def validators(self) -> Validators:
        """For the next time."""
        return Validators(self.headers.get("etag", ""), self.headers.get("last-modified", ""))


class _Transient(Exception):
    """Worth another try.

    Args:
        problem: in words.
        pause_seconds: that the server asked for; None if it asked for none.
        throttled: refused for the rate; such refusals are not counted as failures.
    """

    def __init__(self, problem: str, pause_seconds: float | None = None, throttled: bool = False) -> None:
        super().__init__(problem)
        self.pause_seconds = pause_seconds
        self.throttled = throttled


@dataclass(frozen=True)
class _Request:
    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    bytes_max: int = BYTES_MAX
    cut: bool = False

    def redirected(self, location: str) -> "_Request":
        """The same request to another address; secrets stay with their origin."""
        target = urljoin(self.url, location)
        headers = self.headers
        if urlsplit(self.url)[:2] != urlsplit(target)[:2]:
            headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}
        return _Request(target, {}, headers, self.bytes_max, self.cut)


@dataclass
class _Attempts:
    failures: int = 0
    started: float = field(default_factory=time.monotonic)


class Fetcher:
    """The one outgoing client.

    Args:
        gate: of the hosts.
        user_agent: who we say we are; its first part is our name in robots.txt.
        limits: patience.
        allow_private: whether hosts on private networks may be spoken to.
        obey_robots: for crawled sites; not for an API that was made for programs.
        proxy: address of the organisation's proxy; empty: none.
    """

    def __init__(
        self,
        gate: HostGate,
        *,
        user_agent: str,
        limits: FetchLimits,
        allow_private: bool,
        obey_robots: bool,
        proxy: str = "",
    ) -> None:
        self._gate = gate
        self._limits = limits
        self.figures = gate.figures
        timeout = httpx.Timeout(min(30.0, limits.response_seconds), connect=min(10.0, limits.response_seconds))
        self._http = httpx.Client(
            transport=JudgedTransport(allow_private, proxy),
            headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
        )
        agent = user_agent.partition("/")[0]
        self._robots = Robots(agent, lambda url: self._fetch(_Request(url), robots=False).body)
        self._obey_robots = obey_robots
        self._jitter = wait_random(0, limits.backoff_seconds)
        self._backoff = wait_exponential_jitter(
            multiplier=limits.backoff_seconds, max=60.0, jitter=limits.backoff_seconds
        )

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        """End all connections."""
        self._http.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        validators: Validators | None = None,
        bytes_max: int = BYTES_MAX,
        cut: bool = False,
    ) -> Fetched:
        """Fetch an address.

        Args:
            url: http or https.
            params: of the query.
            headers: of the request; those that hold secrets are not sent on to another origin.
            validators: ask for it only if it changed.
            bytes_max: of the decoded body.
            cut: give the beginning of a longer body instead of an error.

        Raises:
            SourceAway: no usable answer until patience ended.
            AddressRefused: it leads where this source may not go.
            QuotaExhausted: none left for this day.
            RemoteError: an answer that another try would not make better.
            JobCancelled: while waiting.
        """
        sent = {**(headers or {}), **(validators.headers() if validators else {})}
        return self._fetch(_Request(url, dict(params or {}), sent, bytes_max, cut), robots=self._obey_robots)

    def get_json(self, url: str, **options: Any) -> Any:
        """Fetch JSON; text that is none is asked for again, twice.

        Raises:
            ResponseMalformed: still none.
            SourceAway, AddressRefused, QuotaExhausted, RemoteError: as `get`.
        """
        problem = ""
        for attempt in range(_MALFORMED_ATTEMPTS):
            self._gate.sleep(attempt * self._limits.backoff_seconds)
            fetched = self.get(url, **options)
            try:
                return json.loads(fetched.body)
            except ValueError as exc:
                problem = str(exc)
        raise ResponseMalformed(f"{_shown(url)} does not give JSON ({problem}): check the address of the source.")

    def hold_back(self, url: str, seconds: float) -> None:
        """Obey a pause that stands in a body, such as Stack Exchange's `backoff`."""
        self._gate.hold_back(urlsplit(url).netloc, seconds)

    def _fetch(self, request: _Request, *, robots: bool) -> Fetched:
        for _ in range(REDIRECTS_MAX + 1):
            fetched = self._patiently(request, self._refuse(request.url, robots))
            if fetched.status not in _REDIRECTS:
                return fetched
            request = request.redirected(fetched.headers.get("location", ""))
        raise AddressRefused(
            f"{_shown(request.url)} is behind more than {REDIRECTS_MAX} redirects: give the final address."
        )

    def _refuse(self, url: str, robots: bool) -> float:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AddressRefused(f"{_shown(url)} is no http or https address.")
        if not robots:
            return 0.0
        if not self._robots.allows(url):
            raise AddressRefused(f"{_shown(url)} is one that robots.txt of its site asks crawlers to leave alone.")
        return self._robots.delay_seconds(url)

    def _patiently(self, request: _Request, least_seconds: float) -> Fetched:
        attempts = _Attempts()

        def stop(state: RetryCallState) -> bool:
            failure = state.outcome.exception() if state.outcome else None
            attempts.failures += not (isinstance(failure, _Transient) and failure.throttled)
            return attempts.failures >= self._limits.attempts or self._too_long(attempts, failure)

        def pause(state: RetryCallState) -> float:
            failure = state.outcome.exception() if state.outcome else None
            asked = failure.pause_seconds if isinstance(failure, _Transient) else None
            # Never before the time that was asked for; the jitter keeps many clients from coming back at once.
            return self._backoff(state) if asked is None else asked + self._jitter(state)

        retrying = Retrying(
            retry=retry_if_exception_type(_Transient), stop=stop, wait=pause, sleep=self._gate.sleep, reraise=True
        )
        try:
            return retrying(self._once, request, least_seconds)
        except _Transient as exc:
            raise SourceAway(
                f"{_shown(request.url)}: {exc}; tried {attempts.failures} time(s). What was read is kept: check that "
                "the source is up, and collect again."
            ) from exc

    def _too_long(self, attempts: _Attempts, failure: BaseException | None) -> bool:
        asked = failure.pause_seconds if isinstance(failure, _Transient) and failure.pause_seconds else 0.0
        return time.monotonic() - attempts.started + asked > self._limits.patience_seconds

    def _once(self, request: _Request, least_seconds: float) -> Fetched:
        host = urlsplit(request.url).netloc
        with self._gate.passage(host, least_seconds), _transport_errors():
            self.figures.requests += 1
            deadline = time.monotonic() + self._limits.response_seconds
            with self._open(request) as response:
                refusal = response.status_code >= httpx.codes.BAD_REQUEST
                bytes_max = min(request.bytes_max, _REFUSAL_BYTES_MAX) if refusal else request.bytes_max
                body, was_cut = self._body(response, bytes_max, deadline)
        if response.status_code in _RETRIED:
            asked = _retry_after(response.headers)
            throttled = response.status_code == httpx.codes.TOO_MANY_REQUESTS
            if asked:
                self._gate.hold_back(host, asked)
            raise _Transient(f"the server answers {response.status_code}", asked, throttled)
        self._refuse_status(response, body)
        if was_cut and not request.cut:
            raise ResponseTooLarge(f"{_shown(request.url)} is larger than {request.bytes_max} bytes.")
        return Fetched(request.url, response.status_code, response.headers, body, was_cut)

    def _open(self, request: _Request) -> AbstractContextManager[httpx.Response]:
        return self._http.stream("GET", request.url, params=request.params or None, headers=dict(request.headers))

    def _body(self, response: httpx.Response, bytes_max: int, deadline: float) -> tuple[bytes, bool]:
        # Decoded bytes are counted, so that a small body which unpacks to a huge one is found out as well.
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_bytes():
            self.figures.fetched_bytes += len(chunk)
            chunks.append(chunk)
            size += len(chunk)
            if size > bytes_max:
                return b"".join(chunks)[:bytes_max], True
            if time.monotonic() > deadline:
                raise _Transient(f"a response took longer than {self._limits.response_seconds:g} s")
        return b"".join(chunks), False

    def _refuse_status(self, response: httpx.Response, body: bytes) -> None:
        status = response.status_code
        if status < httpx.codes.BAD_REQUEST:
            return
        text = " ".join(body[:_SHORT_CHARACTERS].decode("utf-8", errors="replace").split())
        shown = _shown(str(response.url))
        if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise RemoteMissing(f"{shown} is not there ({status}).")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RemoteDenied(
                f"{shown} is not for us ({status}): check the credentials for its origin in "
                "JEEVES_COLLECTOR_CREDENTIALS_FILE, and their permissions."
            )
        raise RemoteError(f"{shown} answers {status}: {text}")


@contextmanager
def _transport_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.TransportError, httpx.DecodingError) as exc:
        # No address with its query here: a query may hold a key.
        raise _Transient(f"{type(exc).__name__}: {str(exc)[:_SHORT_CHARACTERS]}") from exc


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(at.timestamp() - time.time(), 0.0)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
