"""The fault matrix: a real TCP proxy that injects faults between the gateway and what it leans on.

Every cell ends within its deadline with a typed result; no stream ends silently.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import event, text

from jeeves_gateway.app import create_app
from jeeves_gateway.settings import GatewaySettings

Fault = Literal["none", "slow", "hung", "reset", "truncated", "garbage", "down"]
FAULTS: tuple[Fault, ...] = ("slow", "hung", "reset", "truncated", "garbage", "down")
NODE = "What is a node?"
CELL_SECONDS_MAX = 15.0


class FaultyProxy:
    """Forwards TCP connections, with a fault that can be changed at any time."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.fault: Fault = "none"
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._stopping = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.fault in ("down", "reset"):
                if self.fault == "reset":
                    client.recv(65536)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                return
            if self.fault == "hung":
                self._stopping.wait(60)
                return
            if self.fault == "garbage":
                client.recv(65536)
                client.sendall(b"\x00\xff\x13garbage\r\n\r\n" * 20)
                client.close()
                return
            server = socket.create_connection(self._target, 5)
            self._open.append(server)
            threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
            self._copy(server, client, True)

    def _copy(self, source: socket.socket, target: socket.socket, back: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while block := source.recv(256 if back and self.fault == "slow" else 65536):
                if back and self.fault == "slow":
                    time.sleep(0.02)
                if back and self.fault == "truncated" and passed + len(block) > 700:
                    target.sendall(block[: max(0, 700 - passed)])
                    break
                target.sendall(block)
                passed += len(block)
            target.shutdown(socket.SHUT_WR)
            if back:
                target.close()


@pytest.fixture
def proxied(tmp_path: Path, engine, shared_index, serve) -> Iterator:
    """A gateway whose engine is behind the proxy."""
    with serve(engine.app()) as engine_url:
        address = urlsplit(engine_url)
        proxy = FaultyProxy((str(address.hostname), int(address.port or 0)))
        settings = GatewaySettings(
            data_dir=tmp_path / "data",
            store_url=str(shared_index[0]),
            gateway_engine_url=f"http://127.0.0.1:{proxy.port}/v1",
            gateway_first_token_seconds_max=1.0,
            gateway_token_gap_seconds_max=1.0,
            gateway_rate_limit="100000/minute",
        )
        app = create_app(settings)
        with serve(app) as url, httpx.Client(base_url=url, timeout=CELL_SECONDS_MAX) as client:
            body = {"index": shared_index[1].model_dump(mode="json")}
            client.put("/v1/admin/index", json=body).raise_for_status()
            deadline = time.monotonic() + 10
            while "engine" in client.get("/readyz").json()["missing"]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield client, proxy, app.state.parts
        proxy.stop()


def streamed(client, question: str) -> tuple[int, str, bool, bool]:
    """Status, rung, whether the end was marked, whether a typed error came."""
    body = {"messages": [{"role": "user", "content": question}], "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line]
    done = lines[-1] == "data: [DONE]"
    return response.status_code, response.headers.get("x-jeeves-rung", ""), done, '"error"' in lines[-1]


@pytest.mark.parametrize("fault", FAULTS)
def test_engine(proxied, engine, fault: Fault) -> None:
    client, proxy, _ = proxied
    proxy.fault = fault
    started = time.monotonic()
    body = {"messages": [{"role": "user", "content": NODE}]}
    whole = client.post("/v1/chat/completions", json=body)
    assert whole.status_code == 200
    rung = whole.json()["jeeves"]["rung"]
    assert rung == ("full" if fault == "slow" else "extractive")
    assert whole.json()["jeeves"]["citations"]
    status, rung, done, error = streamed(client, NODE)
    assert status == 200 and done != error, "a stream ends with its mark or with a typed error"
    if fault not in ("slow", "truncated"):
        assert rung == "extractive" and done
    assert time.monotonic() - started < CELL_SECONDS_MAX
    proxy.fault = "none"


@pytest.mark.parametrize("fault", ["hung", "reset", "garbage", "down"])
def test_redis(start_gateway, fault: Fault) -> None:
    proxy = FaultyProxy(("127.0.0.1", 1))
    proxy.fault = fault
    try:
        with start_gateway(
            gateway_rate_limit="1/minute", gateway_rate_limit_storage=f"redis://127.0.0.1:{proxy.port}"
        ) as client:
            started = time.monotonic()
            assert client.ask(NODE).json()["jeeves"]["rung"] == "full"
            response, events = client.listen(NODE)
            assert response.status_code == 200 and events[-1] == "[DONE]"
            assert time.monotonic() - started < CELL_SECONDS_MAX
            assert 'reason="limit-store-down"' in client.get("/metrics").text
    finally:
        proxy.stop()


@pytest.mark.parametrize("fault", ["gone", "full"])
def test_database(proxied, fault: str) -> None:
    """Tables that are gone, and a disk on which nothing can be written any more (SQLite's own error for it)."""
    client, _, parts = proxied
    database = parts.record._engine
    with database.begin() as connection:
        if fault == "gone":
            connection.execute(text("DROP TABLE responses"))
        else:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text("CREATE TABLE filler (x)"))
    if fault == "full":

        def no_room(connection: object, _record: object, _proxy: object) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

        event.listen(database, "checkout", no_room)
        with pytest.raises(Exception, match="full"), database.begin() as connection:
            connection.execute(text("INSERT INTO filler VALUES (zeroblob(10000000))"))
    started = time.monotonic()
    body = {"messages": [{"role": "user", "content": NODE}]}
    answers = [client.post("/v1/chat/completions", json=body) for _ in range(30 if fault == "full" else 1)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].json()["jeeves"]["rung"] == "full"
    status, _, done, _ = streamed(client, NODE)
    assert status == 200 and done
    assert client.get("/healthz").status_code == 200
    if fault == "gone":
        # Written behind the answers, so it shows a moment later.
        while "jeeves_gateway_record_failures_total 2.0" not in client.get("/metrics").text:
            assert time.monotonic() - started < CELL_SECONDS_MAX
            time.sleep(0.02)
        assert client.get("/v1/responses/x/lineage").status_code in (404, 500)
    assert time.monotonic() - started < CELL_SECONDS_MAX


def test_index_that_is_damaged_is_refused_and_the_old_one_goes_on(proxied, shared_index, tmp_path: Path) -> None:
    client, _, _ = proxied
    manifest = shared_index[1].model_dump(mode="json")
    wrong = manifest | {"id": "index-0000000000000000", "artifact": manifest["artifact"] | {"sha256": "0" * 64}}
    assert client.put("/v1/admin/index", json={"index": wrong}).status_code == 404
    body = {"messages": [{"role": "user", "content": NODE}]}
    assert client.post("/v1/chat/completions", json=body).json()["jeeves"]["rung"] == "full"


def test_slow_bodies_cost_a_socket_and_are_ended(start_gateway) -> None:
    with start_gateway(gateway_body_silence_seconds_max=0.3, gateway_rate_limit="1000/minute") as gateway:
        connections = []
        for _ in range(60):  # more than may be inside at the same time
            connection = socket.create_connection((gateway.base_url.host, gateway.base_url.port), 5)
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
            )
            connections.append(connection)
        assert gateway.ask(NODE).status_code == 200
        answers = [connection.recv(100) for connection in connections]
        for connection in connections:
            connection.close()
    assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers)


def test_hostile_bodies_are_refused_quickly(gateway) -> None:
    many = {"messages": [{"role": "user", "content": "x"}] * 20000}
    cpu = time.process_time()
    for body in (b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b'{"messages": 1e999}'):
        assert gateway.post("/v1/chat/completions", content=body).status_code == 400
    assert gateway.post("/v1/chat/completions", json=many).status_code == 400
    assert gateway.post("/v1/chat/completions", content=b"x" * (1024 * 1024 + 1)).status_code == 413
    assert time.process_time() - cpu < 30
    assert gateway.ask(NODE).status_code == 200
