"""Talks to an engine: one streamed OpenAI chat request.

The supervised engine gets a connection for each request: llama-server drops idle ones, and gives each a thread. To an
external engine connections are used again within `_IDLE_SECONDS`; one that was dropped meanwhile is the only thing that
is tried again, once, and only before the first byte of an answer. All retries are made here; whoever asks decides what
else can answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
import orjson

from jeeves_gateway.errors import PromptTooLong, UpstreamFailed, UpstreamStalled
from jeeves_gateway.slots import Place
from jeeves_shared.contracts.prompts import Message

_CONNECT_SECONDS = 3.0
_COPY_SECONDS = 10.0
"""For a slot to be copied: some milliseconds, after the step that the engine is at."""
_FIRST_TOKEN_SECONDS_MIN = 1.0
_IDLE_SECONDS = 1.0
"""A connection that was idle for longer is not used again: servers drop theirs after 5 s at the earliest."""
_RETRY_SHARE = 0.2
"""Retries at the same time, as a share of the requests that run: an engine in trouble is not asked twice as much."""
_ERROR_CHARACTERS_MAX = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens.

    Attributes:
        chat_url: address of `chat/completions`.
        headers: with its key.
        model: name that it knows the model by.
        pooled: whether a connection may be used again.
    """

    chat_url: str
    headers: Mapping[str, str]
    model: str
    pooled: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. Greedy by default: facts are not improved by chance."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a streamed answer: what came at once. The last carries why it ended and the counts.

    Attributes:
        events: with text that it was put together from: as many tokens, if the engine sends each alone.
    """

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    events: int = 1


class Upstream:
    """Client of engines.

    Args:
        first_token_seconds: deadline for the first token; prefill of a long prompt is in it.
        gap_seconds: longest silence after it.
    """

    def __init__(self, first_token_seconds: float, gap_seconds: float) -> None:
        self.first_token_seconds = first_token_seconds
        self._gap_seconds = gap_seconds
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._running = 0
        self._retrying = 0

    async def close(self) -> None:
        """Close what is open."""
        for session in self._sessions.values():
            await session.close()

    def _client(self, pooled: bool = False) -> aiohttp.ClientSession:
        # Made at first use: it binds itself to the running event loop.
        if pooled not in self._sessions:
            kept = {"keepalive_timeout": _IDLE_SECONDS} if pooled else {"force_close": True}
            self._sessions[pooled] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, **kept),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._sessions[pooled]

    async def _post(self, endpoint: Endpoint, body: bytes) -> aiohttp.ClientResponse:
        """The response's beginning.

        Raises:
            aiohttp.ClientError, OSError: no connection, or one that was dropped, and once more.
        """
        headers = {**endpoint.headers, "Content-Type": "application/json"}
        try:
            return await self._client(endpoint.pooled).post(endpoint.chat_url, data=body, headers=headers)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError, ConnectionResetError):
            if not endpoint.pooled or self._retrying + 1 > max(1.0, _RETRY_SHARE * self._running):
                raise
        self._retrying += 1
        try:
            return await self._client().post(endpoint.chat_url, data=body, headers=headers)
        finally:
            self._retrying -= 1

    async def stream(
        self,
        endpoint: Endpoint,
        messages: Sequence[Message],
        sampling: Sampling,
        place: Place | None = None,
        *,
        spent_seconds: float = 0.0,
    ) -> AsyncGenerator[Piece]:
        """Generate. Closing the iterator closes the connection, which frees the engine's slot.

        Args:
            endpoint: the engine.
            messages: the whole prompt.
            sampling: how.
            place: a slot of llama-server; None for engines without.
            spent_seconds: of the time for the first token.

        Raises:
            PromptTooLong: the prompt exceeds the engine's context.
            UpstreamFailed: no connection, an error, or an answer that breaks off.
            UpstreamStalled: silent for too long.
        """
        body = orjson.dumps(_body(endpoint.model, messages, sampling, place))
        deadline = max(_FIRST_TOKEN_SECONDS_MIN, self.first_token_seconds - spent_seconds)
        events = _EventReader()
        self._running += 1
        try:
            async with asyncio.timeout(deadline):
                response = await self._post(endpoint, body)
            async with response:
                if response.status != 200:
                    raise _refused(response.status, await response.text())
                while not events.done:
                    async with asyncio.timeout(deadline):
                        block = await response.content.readany()
                    if not block:
                        break
                    piece = events.read(block)
                    if piece is not None:
                        if piece.text:
                            deadline = self._gap_seconds
                        yield piece
                    if events.failure is not None:
                        raise events.failure
        except TimeoutError as exc:
            raise UpstreamStalled(f"The engine was silent for {deadline:g} s.") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise UpstreamFailed(f"The engine broke off: {type(exc).__name__}.") from exc
        finally:
            self._running -= 1
        if not events.finished:
            raise UpstreamFailed("The engine's answer ended before its end.")

    async def complete(
        self, endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, place: Place | None = None
    ) -> str:
        """Generate and collect the whole text.

        Raises:
            UpstreamFailed: as `stream`.
        """
        return "".join([piece.text async for piece in self.stream(endpoint, messages, sampling, place)])

    async def copy_slot(self, endpoint: Endpoint, action: Literal["save", "restore"], slot: int, file: int) -> None:
        """Have llama-server write what a slot has computed to an open file, or read it from there.

        Args:
            endpoint: the supervised engine.
            action: `save` or `restore`.
            slot: its number.
            file: number by which the engine knows the file.

        Raises:
            UpstreamFailed: it could not be done.
            UpstreamStalled: no answer in time.
        """
        url = f"{endpoint.chat_url.removesuffix('/v1/chat/completions')}/slots/{slot}?action={action}"
        try:
            async with (
                asyncio.timeout(_COPY_SECONDS),
                self._client().post(url, json={"filename": str(file)}, headers=endpoint.headers) as response,
            ):
                if response.status != 200:
                    raise UpstreamFailed(f"The engine could not {action} a slot: status {response.status}.")
        except TimeoutError as exc:
            raise UpstreamStalled(f"The engine did not {action} a slot within {_COPY_SECONDS:g} s.") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamFailed(f"The engine broke off: {type(exc).__name__}.") from exc

    async def answers(self, endpoint: Endpoint) -> bool:
        """Whether an external engine lists its models within a few seconds."""
        url = endpoint.chat_url.removesuffix("/chat/completions") + "/models"
        try:
            async with asyncio.timeout(_CONNECT_SECONDS), self._client().get(url, headers=endpoint.headers) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


def _body(model: str, messages: Sequence[Message], sampling: Sampling, place: Place | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    for name, value in (("top_p", sampling.top_p), ("seed", sampling.seed)):
        if value is not None:
            body[name] = value
    if place is not None:
        body["cache_prompt"] = place.reuse
        if place.slot is not None:
            body["id_slot"] = place.slot
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


class _EventReader:
    """Puts a stream's bytes together to pieces, one for whatever came at once.

    Under load the tokens of a busy moment cost little more than one.
    """

    def __init__(self) -> None:
        self.done = False
        self.finished = False
        self.failure: UpstreamFailed | ValueError | None = None
        self._rest = b""

    def read(self, block: bytes) -> Piece | None:
        """What a block of bytes adds; None if nothing. What came before a fault is kept, the fault in `failure`."""
        texts: list[str] = []
        reason: str | None = None
        counts = (0, 0, 0)
        seen = False
        try:
            for data in self._data(block):
                if data == b"[DONE]":
                    self.done = True
                    break
                seen = True
                text, ended, usage = _event(data)
                if text:
                    texts.append(text)
                reason = ended or reason
                counts = usage or counts
        except (UpstreamFailed, ValueError) as exc:
            self.failure = exc
        self.finished = self.finished or reason is not None
        return Piece("".join(texts), reason, *counts, events=len(texts)) if seen else None

    def _data(self, block: bytes) -> Iterator[bytes]:
        """The data of each whole line; comments and blank lines have none.

        Raises:
            UpstreamFailed: llama-server's own `error:` line.
        """
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
            elif line.startswith(b"error:"):
                raise UpstreamFailed("The engine reported an error in its stream.")


def _event(data: bytes) -> tuple[str, str | None, tuple[int, int, int] | None]:
    """Text, why it ended, and the counts of prompt, answer and reused prompt, as far as an event has them."""
    event = orjson.loads(data)
    if not isinstance(event, dict) or "error" in event:
        raise UpstreamFailed("The engine reported an error in its stream.")
    usage = event.get("usage")
    choice: dict[str, Any] = (event.get("choices") or ({},))[0]
    return (
        (choice.get("delta") or {}).get("content") or "",
        choice.get("finish_reason"),
        _counts(usage) if usage else None,
    )


def _counts(usage: Mapping[str, Any]) -> tuple[int, int, int]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0), int(cached or 0)


def _refused(status: int, body: str) -> UpstreamFailed:
    if status == 400 and ("exceed_context_size" in body or "context size" in body or "context length" in body):
        return PromptTooLong(
            "Question, history and sources together are too long for this model: shorten the question."
        )
    # The body may quote the prompt; only its status is told.
    return UpstreamFailed(f"The engine refused the request with status {status}.")
