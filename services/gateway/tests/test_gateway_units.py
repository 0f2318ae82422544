"""Breaker, admission, limits, history, forms: each alone."""

import asyncio
import json
import socket
import time
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from jeeves_gateway.admission import Admission
from jeeves_gateway.breaker import CircuitBreaker
from jeeves_gateway.errors import BadChatRequest, Overloaded, RateLimited
from jeeves_gateway.history import EXCHANGES, HISTORY_TOKENS, recent_exchanges, search_text
from jeeves_gateway.keys import Caller
from jeeves_gateway.limits import RequestLimits
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.openai_form import ChatMessage, estimated_tokens, parse_chat_request
from jeeves_gateway.settings import GatewaySettings
from jeeves_shared.errors import SettingsError
from jeeves_shared.settings import load_settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestBreaker:
    def test_opens_probes_and_closes(self) -> None:
        clock = Clock()
        breaker = CircuitBreaker(clock, failures_to_open=2, open_seconds=10)
        for _ in range(2):
            assert breaker.allow()
            breaker.failure()
        assert breaker.state == "open" and not breaker.allow()
        clock.now = 10
        assert breaker.allow() and not breaker.allow(), "one probe at a time"
        breaker.failure()
        clock.now = 29
        assert breaker.state == "open", "the second pause is twice as long"
        clock.now = 30
        assert breaker.allow()
        breaker.success()
        assert breaker.state == "closed" and breaker.allow()

    def test_an_abandoned_probe_frees_the_place(self) -> None:
        clock = Clock()
        breaker = CircuitBreaker(clock, failures_to_open=1, open_seconds=1)
        breaker.failure()
        clock.now = 1
        assert breaker.allow()
        breaker.abandoned()
        assert breaker.allow()

    @given(st.lists(st.sampled_from(["ask", "success", "failure", "abandoned", "wait"]), max_size=60))
    def test_never_stays_open_for_ever(self, steps) -> None:
        clock = Clock()
        breaker = CircuitBreaker(clock, failures_to_open=3, open_seconds=1, open_seconds_max=4)
        asked = 0
        for step in steps:
            if step == "wait":
                clock.now += 0.7
            elif step == "ask":
                asked += breaker.allow()
            elif asked:
                asked -= 1
                getattr(breaker, step)()
        for _ in range(asked):
            breaker.abandoned()
        clock.now += 4
        assert breaker.allow()


class TestAdmission:
    async def test_waits_in_turn_and_gives_up_in_time(self) -> None:
        admission = Admission(slots=1, waiting_max=1, wait_seconds_max=0.05)
        async with admission.slot():
            started = time.perf_counter()
            with pytest.raises(Overloaded, match="within"):
                async with admission.slot():
                    pass
            assert time.perf_counter() - started < 1
        async with admission.slot():
            assert (admission.running, admission.waiting) == (1, 0)

    async def test_refuses_at_once_when_the_waiting_room_is_full(self) -> None:
        admission = Admission(slots=1, waiting_max=1, wait_seconds_max=5)

        async def hold() -> None:
            async with admission.slot():
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(hold()) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded, match="running"):
            async with admission.slot():
                pass
        await asyncio.gather(*tasks)

    async def test_a_cancelled_wait_leaves_no_trace(self) -> None:
        admission = Admission(slots=1, waiting_max=1, wait_seconds_max=5)
        async with admission.slot():
            task = asyncio.create_task(admission.slot().__aenter__())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        async with admission.slot():
            assert (admission.running, admission.waiting) == (1, 0)


class TestLimits:
    caller = Caller("a", frozenset(), "key:a")

    async def test_moving_window_and_separate_callers(self) -> None:
        limits = RequestLimits("2/minute", "memory://", GatewayMetrics(CollectorRegistry()))
        await limits.admit(self.caller)
        await limits.admit(self.caller)
        with pytest.raises(RateLimited) as refused:
            await limits.admit(self.caller)
        assert 1 <= refused.value.retry_after_seconds <= 60
        await limits.admit(Caller("b", frozenset(), "key:b"))

    async def test_a_hung_store_neither_blocks_nor_refuses(self) -> None:
        registry = CollectorRegistry()
        clock = Clock()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            limits = RequestLimits(
                "1/minute", f"redis://127.0.0.1:{silent.getsockname()[1]}/0", GatewayMetrics(registry), clock
            )
            started = time.perf_counter()
            for _ in range(5):
                await limits.admit(self.caller)
            assert time.perf_counter() - started < 1.5, "asked once, then left alone for a while"
        labels = {"reason": "limit-store-down"}
        assert registry.get_sample_value("jeeves_gateway_degradations_total", labels) == 1


class TestHistory:
    def test_whole_exchanges_within_number_and_budget(self) -> None:
        messages = [ChatMessage(role="system", content="be a pirate")]
        for number in range(9):
            messages += [
                ChatMessage(role="user", content=f"question {number}"),
                ChatMessage(role="assistant", content=f"answer {number} <|im_end|>"),
            ]
        kept = recent_exchanges([*messages, ChatMessage(role="user", content="now")])
        assert [item["role"] for item in kept] == ["user", "assistant"] * EXCHANGES
        assert kept[0]["content"] == "question 4" and "<|" not in kept[1]["content"]
        long = ChatMessage(role="assistant", content="word " * 2000)
        assert estimated_tokens(long.content) > HISTORY_TOKENS
        short = recent_exchanges(
            [*messages[:3], messages[3], long, *messages[5:7], ChatMessage(role="user", content="now")]
        )
        assert short[0]["content"] == "question 2"

    def test_a_short_follow_up_is_searched_with_its_question(self) -> None:
        first = ChatMessage(role="user", content="How do I bind credentials in a folder?")
        reply = ChatMessage(role="assistant", content="Like this.")
        assert search_text([first, reply, ChatMessage(role="user", content="and globally?")]).startswith(
            "How do I bind"
        )
        alone = "How do I archive artifacts of builds?"
        assert search_text([first, reply, ChatMessage(role="user", content=alone)]) == alone


class TestRequestForm:
    question: ClassVar = {"messages": [{"role": "user", "content": "What is a node?"}]}

    @pytest.mark.parametrize(
        ("more", "param"),
        [
            ({"tools": [{"type": "function"}]}, "tools"),
            ({"n": 3}, "n"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"logprobs": True}, "logprobs"),
            ({"modalities": ["audio"]}, "modalities"),
            ({"temperature": 9}, "temperature"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
            ({"messages": [{"role": "user", "content": " "}]}, "messages"),
            ({"messages": [{"role": "user", "content": "x" * 9000}]}, "messages"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ],
    )
    def test_names_what_it_cannot_serve(self, more, param) -> None:
        with pytest.raises(BadChatRequest) as refused:
            parse_chat_request(json.dumps({**self.question, **more}).encode())
        assert refused.value.param == param

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
    def test_garbage_is_a_bad_request(self, body) -> None:
        with pytest.raises(BadChatRequest):
            parse_chat_request(body)

    def test_what_clients_send_without_meaning_it(self) -> None:
        more = {"tools": [], "tool_choice": "none", "n": 1, "stop": "END", "temperature": None, "stream_options": None}
        request = parse_chat_request(json.dumps({**self.question, **more}).encode())
        assert request.stop == ("END",) and request.temperature == 0
        parts = [
            {"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "a node?"}]}
        ]
        assert parse_chat_request(json.dumps({"messages": parts}).encode()).question == "What is\na node?"


class TestSettings:
    def test_off_loopback_a_key_is_needed(self) -> None:
        with pytest.raises(SettingsError, match="JEEVES_ADMIN_KEY"):
            load_settings(GatewaySettings, host="0.0.0.0")  # noqa: S104
        settings = load_settings(GatewaySettings, host="0.0.0.0", token="0123456789abcdef")  # noqa: S104
        assert not settings.loopback and settings.bootstrap_key is not None

    def test_all_mistakes_at_once(self) -> None:
        with pytest.raises(SettingsError) as refused:
            load_settings(GatewaySettings, gateway_slots=0, gateway_rate_limit="often", admin_key="short")
        assert len(refused.value.errors) == 3
