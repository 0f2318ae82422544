"""Answers written by a GGUF file through llama-server, run and asked as the gateway does it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from jeeves_shared.contracts.prompts import STOP_STRINGS, Message
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec
from jeeves_trainer.errors import EvaluationFailed

_REQUEST_TIMEOUT_SECONDS = 300.0
_TOKEN_TIMEOUT_SECONDS = 3.0
"""Besides, for each token of an answer: it comes whole, and on a busy machine slowly."""
_TEMPLATE_PATH, _CHAT_PATH = "/apply-template", "/v1/chat/completions"

Prompt = Sequence[Message]


def write_answers(
    spec: EngineSpec, prompts: Sequence[Prompt], answer_tokens_max: int, on_answer: Callable[[int], None]
) -> list[str]:
    """Greedy answers, as many at a time as the engine has slots.

    Args:
        spec: the file and how to run it.
        prompts: from `build_messages`.
        answer_tokens_max: where an answer is cut.
        on_answer: called with the number of answers so far; may raise to stop.

    Raises:
        EngineError: the engine is missing or does not start.
        EvaluationFailed: it refused a request or went away.
    """

    async def ask(client: httpx.AsyncClient, prompt: Prompt) -> str:
        body = {
            "messages": list(prompt),
            "temperature": 0.0,
            "max_tokens": answer_tokens_max,
            "stop": list(STOP_STRINGS),
        }
        answer = await _post(client, _CHAT_PATH, body)
        return str(answer["choices"][0]["message"]["content"] or "").strip()

    timeout_seconds = _REQUEST_TIMEOUT_SECONDS + _TOKEN_TIMEOUT_SECONDS * answer_tokens_max
    return asyncio.run(_for_all(spec, prompts, ask, on_answer, timeout_seconds))


def render_prompts(spec: EngineSpec, prompts: Sequence[Prompt]) -> list[str]:
    """What the engine makes of messages by the file's own chat template: the text that it serves from.

    Raises:
        EngineError, EvaluationFailed: as `write_answers`.
    """

    async def ask(client: httpx.AsyncClient, prompt: Prompt) -> str:
        return str((await _post(client, _TEMPLATE_PATH, {"messages": list(prompt)}))["prompt"])

    return asyncio.run(_for_all(spec, prompts, ask, lambda _: None, _REQUEST_TIMEOUT_SECONDS))


def engine_spec(gguf: Path, log: Path, *, slots: int, context_tokens: int, threads: int) -> EngineSpec:
    """How the evaluation runs the engine.

    Args:
        gguf: the file to judge.
        log: file for what the engine writes.
        slots: answers at the same time.
        context_tokens: per slot.
        threads: at least 1.
    """
    return EngineSpec(
        gguf_path=gguf,
        alias="judged",
        log_path=log,
        slots=slots,
        context_tokens_per_slot=context_tokens,
        threads=threads,
    )


async def _for_all(
    spec: EngineSpec,
    prompts: Sequence[Prompt],
    ask: Callable[[httpx.AsyncClient, Prompt], Any],
    on_answer: Callable[[int], None],
    timeout_seconds: float,
) -> list[str]:
    answers = [""] * len(prompts)
    waiting = iter(range(len(prompts)))
    done = 0
    # The server drops idle connections: each request gets its own.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        EngineProcess(spec) as engine,
        httpx.AsyncClient(
            base_url=engine.base_url, headers=engine.headers, limits=limits, timeout=timeout_seconds
        ) as client,
    ):

        async def work() -> None:
            nonlocal done
            for index in waiting:
                answers[index] = await ask(client, prompts[index])
                done += 1
                on_answer(done)

        workers = [asyncio.create_task(work()) for _ in range(spec.slots)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
    return answers


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
    try:
        response = await client.post(path, json=body)
        response.raise_for_status()
        return response.json()
    except httpx.HTTPStatusError as exc:
        raise EvaluationFailed(f"The engine refused a question: {exc.response.text[:300]}") from exc
    except httpx.HTTPError as exc:
        raise EvaluationFailed(f"The engine did not answer ({type(exc).__name__}): see its log.") from exc
