"""Talks to an engine: one streamed OpenAI chat request over a connection of its own.

Connections are never pooled: llama-server drops idle ones, and a request must not be sent twice. Nothing is retried
here; whoever asks decides what else can answer.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from jeeves_gateway.errors import PromptTooLong, UpstreamFailed, UpstreamStalled
from jeeves_shared.contracts.prompts import Message

_CONNECT_SECONDS = 3.0
_ERROR_CHARACTERS_MAX = 300


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine listens.

    Attributes:
        chat_url: address of `chat/completions`.
        headers: with its key.
        model: name that it knows the model by.
    """

    chat_url: str
    headers: Mapping[str, str]
    model: str


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
    """A piece of a streamed answer; the last carries why it ended, the counts come on their own."""

    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Upstream:
    """Client of engines.

    Args:
        first_token_seconds: deadline for the first token; prefill of a long prompt is in it.
        gap_seconds: longest silence after it.
    """

    def __init__(self, first_token_seconds: float, gap_seconds: float) -> None:
        self._first_token_seconds = first_token_seconds
        self._gap_seconds = gap_seconds
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        # Made at first use: it binds itself to the running event loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                trust_env=False,
            )
        return self._session

    async def stream(
        self, endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, slot: int | None = None
    ) -> AsyncGenerator[Piece]:
        """Generate. Closing the iterator closes the connection, which frees the engine's slot.

        Args:
            endpoint: the engine.
            messages: the whole prompt.
            sampling: how.
            slot: llama-server's slot; None lets it choose.

        Raises:
            PromptTooLong: the prompt exceeds the engine's context.
            UpstreamFailed: no connection, an error, or an answer that breaks off.
            UpstreamStalled: silent for too long.
        """
        body = _body(endpoint.model, messages, sampling, slot)
        deadline = self._first_token_seconds
        finished = False
        try:
            async with asyncio.timeout(deadline):
                response = await self._client().post(endpoint.chat_url, json=body, headers=endpoint.headers)
            async with response:
                if response.status != 200:
                    raise _refused(response.status, await response.text())
                while True:
                    async with asyncio.timeout(deadline):
                        line = await response.content.readline()
                    if not line:
                        break
                    if (data := _data(line)) is None:
                        continue
                    if data == b"[DONE]":
                        break
                    piece = _piece(data)
                    if piece.text:
                        deadline = self._gap_seconds
                    finished = finished or piece.finish_reason is not None
                    yield piece
        except TimeoutError as exc:
            raise UpstreamStalled(f"The engine was silent for {deadline:g} s.") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise UpstreamFailed(f"The engine broke off: {type(exc).__name__}.") from exc
        if not finished:
            raise UpstreamFailed("The engine's answer ended before its end.")

    async def complete(
        self, endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, slot: int | None = None
    ) -> str:
        """Generate and collect the whole text.

        Raises:
            UpstreamFailed: as `stream`.
        """
        return "".join([piece.text async for piece in self.stream(endpoint, messages, sampling, slot)])

    async def answers(self, endpoint: Endpoint) -> bool:
        """Whether an external engine lists its models within a few seconds."""
        url = endpoint.chat_url.removesuffix("/chat/completions") + "/models"
        try:
            async with asyncio.timeout(_CONNECT_SECONDS), self._client().get(url, headers=endpoint.headers) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False


def _body(model: str, messages: Sequence[Message], sampling: Sampling, slot: int | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    for name, value in (("top_p", sampling.top_p), ("seed", sampling.seed), ("id_slot", slot)):
        if value is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


def _data(line: bytes) -> bytes | None:
    """The data of a server-sent event's line; None for comments and blank lines.

    Raises:
        UpstreamFailed: llama-server's own `error:` line.
    """
    if line.startswith(b"error:"):
        raise UpstreamFailed("The engine reported an error in its stream.")
    return line[5:].strip() if line.startswith(b"data:") else None


def _piece(data: bytes) -> Piece:
    event = json.loads(data)
    if not isinstance(event, dict) or "error" in event:
        raise UpstreamFailed("The engine reported an error in its stream.")
    usage = event.get("usage") or {}
    choice = (event.get("choices") or [{}])[0]
    return Piece(
        text=(choice.get("delta") or {}).get("content") or "",
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


def _refused(status: int, body: str) -> UpstreamFailed:
    if status == 400 and ("exceed_context_size" in body or "context size" in body or "context length" in body):
        return PromptTooLong(
            "Question, history and sources together are too long for this model: shorten the question."
        )
    # The body may quote the prompt; only its status is told.
    return UpstreamFailed(f"The engine refused the request with status {status}.")
