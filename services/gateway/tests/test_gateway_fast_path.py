"""What makes a request cheap must not change what it gives: fresh values, late writes, pieces, connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from jeeves_gateway.budgets import BudgetStore
from jeeves_gateway.direct import DirectRoute, DirectRoutes
from jeeves_gateway.errors import Overloaded, UpstreamFailed
from jeeves_gateway.fresh import FRESH_SECONDS, FreshValues
from jeeves_gateway.hygiene import HELD_LINK, PromptGuard, held_link
from jeeves_gateway.metrics import GatewayMetrics
from jeeves_gateway.openai_form import error_response
from jeeves_gateway.record import GatewayRecord
from jeeves_gateway.upstream import Endpoint, Piece, Sampling, Upstream, _EventReader
from jeeves_gateway.write_behind import WriteBehind
from jeeves_shared.contracts.prompts import SYSTEM_PROMPT
from jeeves_shared.errors import JeevesError
from jeeves_shared.jobs.store import open_database

TODAY = datetime.now(UTC).date().isoformat()


class TestFreshValues:
    async def test_one_reading_serves_all_that_wait_and_no_value_gets_old(self) -> None:
        now, reads, stored = 0.0, 0, "a"

        async def read(key: str) -> str:
            nonlocal reads
            reads += 1
            value = stored
            await asyncio.sleep(0)
            return value

        values = FreshValues(read, lambda: now)
        assert await asyncio.gather(*(values.get("k") for _ in range(5))) == ["a"] * 5
        assert reads == 1
        stored = "b"
        now = FRESH_SECONDS * 0.6
        assert await values.get("k") == "a", "early: read again, and not waited for"
        for _ in range(3):
            await asyncio.sleep(0)
        assert await values.get("k") == "b" and reads == 2
        stored = "c"
        now += FRESH_SECONDS
        assert await values.get("k") == "c"

    async def test_forgetting_holds_for_what_is_being_read(self) -> None:
        gate = asyncio.Event()
        stored = "old"

        async def read(key: str) -> str:
            value = stored
            await gate.wait()
            return value

        values = FreshValues(read, lambda: 0.0)
        first = asyncio.create_task(values.get("k"))
        for _ in range(3):
            await asyncio.sleep(0)
        stored = "new"
        values.forget()
        gate.set()
        assert await first == "old" and await values.get("k") == "new"

    async def test_a_failed_reading_is_the_error_of_those_that_wait(self) -> None:
        async def read(key: str) -> str:
            raise OSError("down")

        with pytest.raises(OSError, match="down"):
            await FreshValues(read, lambda: 0.0).get("k")


class TestWriteBehind:
    @pytest.fixture
    async def parts(self, tmp_path) -> AsyncIterator[tuple]:
        database = open_database(f"sqlite:///{tmp_path / 's.sqlite'}")
        registry = CollectorRegistry()
        record, budgets = GatewayRecord(database), BudgetStore(database)
        yield WriteBehind(record, budgets, GatewayMetrics(registry)), record, budgets, database, registry
        database.dispose()

    async def test_many_answers_are_written_at_once_and_nothing_twice(self, parts) -> None:
        behind, record, budgets, _, _ = parts
        for number in range(100):
            behind.add_response(f"r{number}", {"rung": "full"})
            behind.spend("k", TODAY, 3)
        assert behind.unwritten_tokens("k", TODAY) == 300
        await asyncio.gather(behind.flush(), behind.flush())
        assert record.response("r99")["rung"] == "full"
        assert budgets.usage("k", TODAY).tokens == 300 and budgets.usage("k", TODAY).requests == 100
        assert behind.unwritten_tokens("k", TODAY) == 0

    async def test_it_writes_by_itself(self, parts) -> None:
        behind, _, budgets, _, _ = parts
        behind.spend("k", TODAY, 3)
        deadline = asyncio.get_running_loop().time() + 10
        while budgets.usage("k", TODAY).tokens != 3:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    async def test_usage_outlives_a_store_that_is_down_and_lost_lineage_is_counted(self, parts) -> None:
        behind, _, budgets, database, registry = parts
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE key_usage RENAME TO away"))
            connection.execute(text("DROP TABLE responses"))
        behind.spend("k", TODAY, 3)
        behind.add_response("r", {})
        await behind.flush()
        behind.spend("k", TODAY, 4)
        assert behind.unwritten_tokens("k", TODAY) == 7
        with database.begin() as connection:
            connection.execute(text("ALTER TABLE away RENAME TO key_usage"))
        await behind.flush()
        assert budgets.usage("k", TODAY).tokens == 7
        assert registry.get_sample_value("jeeves_gateway_record_failures_total") == 1


def _stream(words: list[str]) -> bytes:
    events = [{"choices": [{"delta": {"content": word}}]} for word in words]
    events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"usage": {"completion_tokens": len(words)}}]
    lines = "".join(f"data: {json.dumps(event)}\n\n: keep-alive\n\n" for event in events)
    return f"{lines}data: [DONE]\n\n".encode()


@given(st.lists(st.text(min_size=1, max_size=8), max_size=12), st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_a_stream_means_the_same_however_its_bytes_are_cut(words: list[str], cuts: list[int]) -> None:
    reader, rest, pieces = _EventReader(), _stream(words), list[Piece]()
    while rest:
        size = cuts[len(pieces) % len(cuts)]
        piece = reader.read(rest[:size])
        rest = rest[size:]
        pieces += [piece] if piece else [Piece(events=0)]
    assert reader.failure is None and reader.done and reader.finished
    assert "".join(piece.text for piece in pieces) == "".join(words)
    assert sum(piece.events for piece in pieces) == len(words)
    assert max(piece.completion_tokens for piece in pieces) == len(words)


def test_what_came_before_a_fault_is_kept() -> None:
    reader = _EventReader()
    piece = reader.read(b'data: {"choices":[{"delta":{"content":"half"}}]}\n\nerror: {"code":500}\n\n')
    assert piece is not None and piece.text == "half" and isinstance(reader.failure, UpstreamFailed)


@given(st.integers(0, 12), st.integers(8, 14), st.text(alphabet="abc .", max_size=40), st.text("xyz ", max_size=40))
def test_a_leak_is_found_wherever_it_stands_in_what_came_at_once(
    first: int, words: int, before: str, after: str
) -> None:
    leaked = " ".join(SYSTEM_PROMPT.split()[first : first + words])
    guard = PromptGuard()
    assert guard.watch().leaks(f"{before} {leaked} {after}")
    watch, half = guard.watch(), len(leaked) // 2
    assert not watch.leaks(f"{before} {leaked[:5]}")
    assert watch.leaks(leaked[5:half]) | watch.leaks(f"{leaked[half:]} {after}")
    assert not guard.watch().leaks(f"{before} {after}")


@given(
    st.lists(st.sampled_from([*SYSTEM_PROMPT.split()[:9], "he", "ron", "_", " ", "\n", "é", "it"]), max_size=40),
    st.data(),
)
def test_a_leak_is_found_however_the_answer_is_cut(parts: list[str], data: st.DataObject) -> None:
    """Piece by piece the guard sees what it sees in the whole."""
    text = " ".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    guard = PromptGuard("heron")
    whole, cut = guard.watch(), guard.watch()
    leaked = whole.leaks(text)
    found = [cut.leaks(piece) for piece in pieces]
    assert any(found) >= leaked, "what is complete in the whole is seen in the pieces"
    if not leaked:
        assert cut.may_leak == whole.may_leak


@given(st.text(alphabet="[]()!<>/:.w htps@a1\n", max_size=60) | st.text(max_size=40))
def test_what_may_become_a_link_is_found_as_by_the_whole_search(text: str) -> None:
    for lead in ("", "word1 is here. " * 3):
        assert str(held_link(lead + text)) == str(HELD_LINK.search(lead + text))


class _Dropping(asyncio.Protocol):
    """Answers the first request of a connection and drops the connection at the second."""

    asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.answered = False

    def data_received(self, data: bytes) -> None:
        if b"POST" not in data:
            return
        _Dropping.asked += 1
        if self.answered:
            self.transport.close()
            return
        self.answered = True
        body = _stream(["yes"])
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.transport.write(head + body)  # type: ignore[attr-defined]


@pytest.mark.parametrize("pooled", [True, False])
async def test_a_connection_that_was_dropped_meanwhile_is_tried_again_once(pooled: bool) -> None:
    _Dropping.asked = 0
    server = await asyncio.get_running_loop().create_server(_Dropping, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream(5.0, 5.0)
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1/chat/completions", {}, "m", pooled)
    try:
        for _ in range(4):
            assert await upstream.complete(endpoint, [], Sampling(max_tokens=1)) == "yes"
        # The second request on the first connection is dropped, its retry and each later one have a new connection.
        assert _Dropping.asked == (6 if pooled else 4)
    finally:
        await upstream.close()
        server.close()


async def test_one_too_many_is_refused_unread_and_slow_senders_take_no_place() -> None:
    leave, inside = asyncio.Event(), asyncio.Event()

    async def endpoint(request: Request) -> Response:
        try:
            await request.body()
        except JeevesError as exc:
            return error_response(exc)
        inside.set()
        await leave.wait()
        return Response()

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("not asked for")

    routes = {("POST", "/x"): DirectRoute("/x", endpoint)}
    app = DirectRoutes(elsewhere, routes, inside_max=1, overloaded=lambda: Overloaded("full", 2))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def whole() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": False}

    async def slow() -> Message:
        await inside.wait()
        return await whole()

    async def never_read() -> Message:
        raise AssertionError("a request that is refused is not read")

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
    late = asyncio.create_task(app(dict(scope), slow, send))
    await asyncio.sleep(0)
    first = asyncio.create_task(app(dict(scope), whole, send))
    await late
    assert sent[0]["status"] == 503, "its body came when the place was taken"
    sent.clear()
    await app(dict(scope), never_read, send)
    assert sent[0]["status"] == 503 and (b"retry-after", b"2") in sent[0]["headers"]
    sent.clear()
    leave.set()
    await first
    await app(dict(scope), whole, send)
    assert [message["status"] for message in sent if "status" in message] == [200, 200]
