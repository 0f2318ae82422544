"""Questions to the gateway, as `jeeves ask`, `jeeves chat` and the end of `make run` put them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse

from jeeves_cli.client import ServiceClient
from jeeves_cli.exits import CommandError, Exit, ServiceUnreachable
from jeeves_shared.contracts.answers import Answer, Citation

ANSWER_TIMEOUT_SECONDS = 120.0


def ask(gateway: ServiceClient, question: str, question_id: str = "") -> Answer:
    """One question, answered as a whole.

    Args:
        gateway: client of the gateway.
        question: as typed.
        question_id: carried into the answer, for batches.

    Raises:
        CommandError: the gateway is away or refused.
    """
    body = {"model": "jeeves", "messages": [{"role": "user", "content": question}]}
    completion = gateway.request("POST", "/v1/chat/completions", body, timeout_seconds=ANSWER_TIMEOUT_SECONDS)
    return _answer(completion, completion["choices"][0]["message"]["content"], question, question_id)


def stream(gateway: ServiceClient, messages: Sequence[dict[str, str]]) -> Iterator[str | Answer]:
    """One question, streamed: pieces of text, then the whole answer with its citations.

    Raises:
        CommandError: the gateway is away, refused, or the stream broke.
    """
    body = {"model": "jeeves", "messages": list(messages), "stream": True}
    pieces: list[str] = []
    last: dict[str, Any] = {}
    try:
        with (
            httpx.Client(
                base_url=gateway.url,
                headers=gateway.headers,
                timeout=ANSWER_TIMEOUT_SECONDS,
                trust_env=gateway.trust_env,
            ) as http,
            connect_sse(http, "POST", "/v1/chat/completions", json=body) as source,
        ):
            if source.response.is_error:
                source.response.read()
                raise CommandError(f"The gateway answered {source.response.status_code}: {source.response.text[:300]}")
            for event in source.iter_sse():
                if event.data == "[DONE]":
                    break
                chunk = json.loads(event.data)
                if "error" in chunk:
                    raise CommandError(str(chunk["error"].get("message")))
                last = chunk if "jeeves" in chunk else last
                for choice in chunk.get("choices", []):
                    if text := choice.get("delta", {}).get("content"):
                        pieces.append(text)
                        yield text
    except httpx.TransportError as exc:
        raise ServiceUnreachable("gateway", gateway.url) from exc
    yield _answer(last, "".join(pieces), messages[-1]["content"], "")


def read_batch(path: Path) -> list[tuple[str, str]]:
    """Questions of a JSON Lines file with `id` and `question`.

    Raises:
        CommandError: unreadable, or a line without them; the line is named.
    """
    questions = []
    try:
        # Not splitlines: it also splits at characters that JSON leaves inside of strings, such as U+2028.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except UnicodeDecodeError as exc:
        raise CommandError(f"{path} is not UTF-8: save it so.", Exit.USAGE) from exc
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row["question"], str) or not row["question"].strip() or row["id"] is None:
                raise ValueError("an empty question or id")
            questions.append((str(row["id"]), row["question"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise CommandError(
                f'{path}, line {number}: needs a JSON object with "id" and "question".', Exit.USAGE
            ) from exc
    return questions


def _answer(body: dict[str, Any], text: str, question: str, question_id: str) -> Answer:
    extension = body.get("jeeves") or {}
    return Answer(
        id=question_id,
        question=question,
        answer=text,
        citations=tuple(Citation.model_validate(citation) for citation in extension.get("citations", [])),
        rung=extension.get("rung", "full"),
        model=str(body.get("model", "")),
        response_id=str(extension.get("response_id") or body.get("id", "")),
        refused=bool(extension.get("refused", False)),
        reasons=tuple(extension.get("reasons", ())),
    )
