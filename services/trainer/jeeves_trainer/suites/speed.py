"""How fast a file answers by the engine that serves it: one question at a time, nothing cached."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from jeeves_shared.contracts.evaluation_suites import SpeedSuite
from jeeves_shared.contracts.manifests import ArtifactRef, FileSpeed, GateCondition
from jeeves_shared.engine.process import EngineProcess
from jeeves_shared.engine.spec import EngineSpec
from jeeves_shared.measures.bootstrap import estimate, mean_of
from jeeves_trainer.errors import EvaluationFailed
from jeeves_trainer.generation import Prompt

_TIMEOUT_SECONDS = 300.0
_CHUNK_PREFIX = "data: "


@dataclass(frozen=True)
class Timing:
    """One answer.

    Attributes:
        first_token_seconds: from the request to the first text.
        tokens_per_second: of the tokens after the first.
    """

    first_token_seconds: float
    tokens_per_second: float


def time_answers(
    spec: EngineSpec, prompts: Sequence[Prompt], answer_tokens: int, on_answer: Callable[[int], None]
) -> tuple[list[Timing], int]:
    """Timings of streamed answers, and the highest resident memory of the engine's process in bytes.

    Args:
        spec: with one slot.
        prompts: from `build_messages`; the first one warms up and is asked again.
        answer_tokens: length of each answer; the end token does not end it.
        on_answer: told how many are done; may raise to stop.

    Raises:
        EngineError: the engine is missing or does not start.
        EvaluationFailed: it refused a request, went away, or wrote nothing.
    """

    async def run() -> tuple[list[Timing], int]:
        limits = httpx.Limits(max_keepalive_connections=0)  # the server drops idle connections
        async with (
            EngineProcess(spec) as engine,
            httpx.AsyncClient(
                base_url=engine.base_url, headers=engine.headers, limits=limits, timeout=_TIMEOUT_SECONDS
            ) as client,
        ):
            await _time_one(client, prompts[0], answer_tokens)
            timings = []
            for prompt in prompts:
                timings.append(await _time_one(client, prompt, answer_tokens))
                on_answer(len(timings))
            return timings, _peak_resident_bytes(engine.pid)

    return asyncio.run(run())


async def _time_one(client: httpx.AsyncClient, prompt: Prompt, answer_tokens: int) -> Timing:
    body = {
        "messages": list(prompt),
        "temperature": 0.0,
        "max_tokens": answer_tokens,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
    }
    started = time.monotonic()
    moments: list[float] = []
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.is_error:
                raise EvaluationFailed(f"The engine refused a question: {(await response.aread())[:300]!r}")
            async for line in response.aiter_lines():
                if _has_text(line):
                    moments.append(time.monotonic())
    except httpx.HTTPError as exc:
        raise EvaluationFailed(f"The engine did not answer ({type(exc).__name__}): see its log.") from exc
    if len(moments) < 2:
        raise EvaluationFailed("The engine wrote fewer than two tokens: there is nothing to time.")
    # One event a token; text that ends within a character comes with the next one, which a mean does not notice.
    return Timing(moments[0] - started, (len(moments) - 1) / (moments[-1] - moments[0]))


def _has_text(line: str) -> bool:
    if not line.startswith(_CHUNK_PREFIX + "{"):
        return False
    choices = json.loads(line[len(_CHUNK_PREFIX) :]).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def _peak_resident_bytes(pid: int | None) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise EvaluationFailed("The kernel does not tell the memory of the engine's process.")


def file_speed(
    quantization: str, artifact: ArtifactRef, timings: Sequence[Timing], memory_bytes: int, *, resamples: int, seed: int
) -> FileSpeed:
    """Figures of one file, with their intervals.

    Args:
        quantization: of the file.
        artifact: the file.
        timings: at least two.
        memory_bytes: from `time_answers`.
        resamples: of the bootstrap.
        seed: of the resampling.
    """
    first = mean_of([timing.first_token_seconds for timing in timings])
    rate = mean_of([timing.tokens_per_second for timing in timings])
    return FileSpeed(
        quantization=quantization,
        size_bytes=artifact.size_bytes,
        first_token_seconds=estimate(first, resamples=resamples, seed=seed),
        tokens_per_second=estimate(rate, resamples=resamples, seed=seed),
        memory_bytes=memory_bytes,
    )


def speed_conditions(settings: SpeedSuite, speed: FileSpeed) -> list[GateCondition]:
    """Conditions that the recipe puts on the judged file's speed."""
    conditions = []
    first, rate = speed.first_token_seconds.value, speed.tokens_per_second.value
    if (longest := settings.first_token_seconds_max) is not None:
        conditions.append(
            GateCondition(
                name=f"{settings.name}_first_token",
                passed=first <= longest,
                reason=f"first token after {first:.2f} s on this machine; asked: at most {longest:.2f} s",
            )
        )
    if (least := settings.tokens_per_second_min) is not None:
        conditions.append(
            GateCondition(
                name=f"{settings.name}_tokens",
                passed=rate >= least,
                reason=f"{rate:.1f} tokens/s on this machine; asked: at least {least:.1f}",
            )
        )
    return conditions
