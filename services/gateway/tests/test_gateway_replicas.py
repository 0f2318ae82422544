"""Gateways as processes of their own, side by side: what a restart and what counts that they share must hold."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from jeeves_gateway.in_use import SharedUse, UsedUp
from jeeves_gateway.metrics import GatewayMetrics

STREAMS = 32
LIMIT = 200
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is a node?"}],
    "jeeves": {"retrieval": False, "fallback": False},
}
StartReplica = Callable[..., "Replica"]


class Replica:
    """A gateway process before the fake engine, on a port of the system's choice."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jeeves_gateway"], env=environment, stdout=file, stderr=file
            )

    def wait_ready(self, wait_for: Callable[..., None]) -> "Replica":
        wait_for(lambda: "running on" in self._log.read_text() or self.process.poll() is not None, 60)
        port = re.search(r"running on http://127.0.0.1:(\d+)", self._log.read_text())
        assert port, self._log.read_text()
        self.url = f"http://127.0.0.1:{port[1]}"
        wait_for(lambda: "engine" not in httpx.get(f"{self.url}/readyz").json()["missing"], 60)
        return self

    def stream(self) -> list[str]:
        """The data of all events of one streamed answer."""
        with httpx.stream("POST", f"{self.url}/v1/chat/completions", json=BODY | {"stream": True}, timeout=60) as got:
            return [line.removeprefix("data: ") for line in got.iter_lines() if line]

    def status(self, key: str = "") -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(f"{self.url}/v1/chat/completions", json=BODY, headers=headers, timeout=60).status_code

    def key(self, **limits: int) -> str:
        """A new key with limits of its own."""
        made = httpx.post(f"{self.url}/v1/admin/keys", json={"name": "k", "scopes": ["chat"]}).raise_for_status().json()
        httpx.put(f"{self.url}/v1/admin/keys/{made['id']}/limits", json=limits).raise_for_status()
        return str(made["key"])


@pytest.fixture
def start_replica(tmp_path: Path, engine, serve) -> Iterator[StartReplica]:
    """Begins to start gateways that share a data folder and an engine; keyword arguments are settings."""
    replicas: list[Replica] = []
    with serve(engine.app()) as engine_url:

        def start(**settings: str) -> Replica:
            environment = {
                **os.environ,
                "JEEVES_DATA_DIR": str(tmp_path),
                "JEEVES_GATEWAY_ENGINE_URL": f"{engine_url}/v1",
                **{f"JEEVES_{name.upper()}": value for name, value in settings.items()},
            }
            replicas.append(Replica(tmp_path / f"{len(replicas)}.log", environment))
            return replicas[-1]

        try:
            yield start
        finally:
            for replica in replicas:
                replica.process.terminate()
                replica.process.wait(30)


@pytest.fixture
def redis_url() -> Iterator[str]:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([server, "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
def test_no_stream_is_cut_short_by_a_rolling_restart(start_replica: StartReplica, engine, wait_for) -> None:
    engine.pause_seconds = 0.2
    settings = {"gateway_slots": str(STREAMS), "gateway_rate_limit": "1000/minute"}
    old, new = [replica.wait_ready(wait_for) for replica in (start_replica(**settings), start_replica(**settings))]
    with ThreadPoolExecutor(2 * STREAMS) as pool:
        before = [pool.submit(old.stream) for _ in range(STREAMS)]
        wait_for(lambda: engine.running == STREAMS, 60)
        old.process.send_signal(signal.SIGTERM)
        after = [pool.submit(new.stream) for _ in range(STREAMS)]
        wait_for(lambda: not _admits(old.url), 10)
        assert engine.running, "it admits none while it still streams"
        streams = [future.result() for future in (*before, *after)]
    assert [events[-1] for events in streams] == ["[DONE]"] * 2 * STREAMS
    assert {_text(events) for events in streams} == {engine.say}
    assert engine.aborted == 0
    assert old.process.wait(30) in (0, -signal.SIGTERM)


def _text(events: list[str]) -> str:
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    return "".join(delta.get("content", "") for delta in deltas)


def _admits(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return False
    return True


@pytest.mark.slow
def test_two_processes_count_exactly_in_redis(start_replica: StartReplica, redis_url: str, wait_for, engine) -> None:
    settings = {"gateway_rate_limit": f"{LIMIT}/minute", "gateway_rate_limit_storage": redis_url}
    settings["gateway_slots"] = "16"
    replicas = [replica.wait_ready(wait_for) for replica in (start_replica(**settings), start_replica(**settings))]
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda number: replicas[number % 2].status(), range(LIMIT + 60)))
        assert Counter(statuses) == {200: LIMIT, 429: 60}
        # 108 tokens an answer: the hundredth uses up the last of them.
        tokens = replicas[0].key(tokens_per_minute=107 * 100 + 1)
        statuses = [replicas[number % 2].status(tokens) for number in range(110)]
        assert statuses == [200] * 100 + [429] * 10
        few = replicas[1].key(concurrent=5)
        engine.pause_seconds = 0.2
        assert Counter(pool.map(lambda number: replicas[number % 2].status(few), range(16))) == {200: 5, 429: 11}
        engine.pause_seconds = 0.0
        assert Counter(pool.map(lambda number: replicas[number % 2].status(few), range(5))) == {200: 5}


def _shared(url: str, lease_seconds: float = 0.5) -> SharedUse:
    return SharedUse(Redis.from_url(url), GatewayMetrics(CollectorRegistry()), lease_seconds)


async def test_a_place_lasts_as_long_as_its_process(redis_url: str) -> None:
    code = (
        "import asyncio, sys; from redis.asyncio import Redis; from prometheus_client import CollectorRegistry\n"
        "from jeeves_gateway.in_use import SharedUse; from jeeves_gateway.metrics import GatewayMetrics\n"
        "async def main():\n"
        "    use = SharedUse(Redis.from_url(sys.argv[1]), GatewayMetrics(CollectorRegistry()), 0.5)\n"
        "    print(callable(await use.enter('k', 1, None)), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, redis_url, stdout=subprocess.PIPE)
    assert other.stdout is not None and await other.stdout.readline() == b"True\n"
    use = _shared(redis_url)
    for _ in range(6):
        await asyncio.sleep(0.2)
        assert await use.enter("k", 1, None) == UsedUp("concurrent", 1), "renewed while its process lives"
    other.kill()
    await other.wait()
    deadline = time.monotonic() + 10
    while not callable(leave := await use.enter("k", 1, None)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    leave()
    await use.close()


async def test_without_redis_the_process_counts_alone(redis_url: str) -> None:
    use = _shared(redis_url)
    leave = await use.enter("k", 1, None)
    assert callable(leave)
    await use.spend("k", 7)
    assert await use.enter("k", None, 8) and await use.enter("k", None, 7) == UsedUp("tokens-per-minute", 60)
    gone = _shared("redis://127.0.0.1:1")
    first = await gone.enter("k", 1, None)
    assert callable(first) and await gone.enter("k", 1, None) == UsedUp("concurrent", 1)
    first()
    await gone.spend("k", 7)
    assert await gone.enter("k", 1, 7) == UsedUp("tokens-per-minute", 60) and callable(await gone.enter("k", 1, 8))
    await gone.close()
    await use.close()
