"""The gateway's figures before a mock engine, each beside a peer in the same run. Printed, never asserted.

    requests/s         32 connections, whole answers; the gateway on one core
    added latency      p50 at one connection, over the mock engine asked directly
    resident memory    after the load
    disconnect         from the client's leaving to the engine's noticing
    overload           whole answers a second at 10 times the capacity, against the peak; p99 of refusals, /healthz

`python tests/bench/gateway_bench.py [--litellm BIN] [--rounds 5] [--seconds 5]`; BIN is LiteLLM's `litellm` program.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil

HERE = Path(__file__).resolve().parent
BODY = {"model": "mock", "messages": [{"role": "user", "content": "What is a node? " * 16}]}
SLOTS = 4


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Target:
    """A server under measurement."""

    def __init__(self, name: str, command: list[str], port: int, extra: dict[str, object], **environment: str) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.body = {**BODY, **extra}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env={**os.environ, **environment}, **quiet)
        psutil.Process(self.process.pid).cpu_affinity([0])

    async def ready(self, session: aiohttp.ClientSession) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                async with session.post(f"{self.url}/v1/chat/completions", json=self.body) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)
        raise SystemExit(f"{self.name} did not answer")

    def memory_mib(self) -> float:
        process = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


async def throughput(session: aiohttp.ClientSession, target: Target, seconds: float) -> float:
    done = 0
    end = time.monotonic() + seconds

    async def client() -> None:
        nonlocal done
        while time.monotonic() < end:
            async with session.post(f"{target.url}/v1/chat/completions", json=target.body) as answer:
                await answer.read()
                done += answer.status == 200

    await asyncio.gather(*(client() for _ in range(32)))
    return done / seconds


async def latency_ms(session: aiohttp.ClientSession, target: Target, times: int = 60) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        async with session.post(f"{target.url}/v1/chat/completions", json=target.body) as answer:
            await answer.read()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


async def disconnect_ms(session: aiohttp.ClientSession, target: Target, mock_url: str) -> float:
    await session.put(f"{mock_url}/pace/0.5")
    async with session.post(f"{target.url}/v1/chat/completions", json={**target.body, "stream": True}) as answer:
        await answer.content.readline()
        await asyncio.sleep(0.7)
        left = time.time()
        answer.close()
    while True:
        async with session.get(f"{mock_url}/state") as state:
            aborted = (await state.json())["left_at"]
        if aborted >= left:
            break
        if time.time() - left > 10:
            return float("inf")
        await asyncio.sleep(0.01)
    await session.put(f"{mock_url}/pace/0")
    return (aborted - left) * 1000


async def overload(session: aiohttp.ClientSession, target: Target, mock_url: str, seconds: float) -> str:
    """Offer 10 times what the slots can do, at a fixed rate whatever comes back."""
    await session.put(f"{mock_url}/pace/0.0125")  # 0.2 s an answer: 20 a second in 4 slots

    async def offered(rate: float, length: float) -> tuple[float, list[float], list[float]]:
        served, refused, health = 0, [], []

        async def one() -> None:
            nonlocal served
            started = time.perf_counter()
            body = {**target.body, "jeeves": {"retrieval": False, "fallback": False}}
            async with session.post(f"{target.url}/v1/chat/completions", json=body) as answer:
                await answer.read()
            if answer.status == 200:
                served += 1
            else:
                refused.append((time.perf_counter() - started) * 1000)

        async def ask_health() -> None:
            started = time.perf_counter()
            async with session.get(f"{target.url}/healthz") as answer:
                await answer.read()
            health.append((time.perf_counter() - started) * 1000)

        tasks = []
        begun = time.monotonic()
        for number in range(int(rate * length)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one()))
            if number % 20 == 0:
                tasks.append(asyncio.create_task(ask_health()))
        await asyncio.gather(*tasks)
        return served / (time.monotonic() - begun), refused, health

    peak, _, _ = await offered(20, seconds)
    before = target.memory_mib()
    good, refused, health = await offered(200, seconds)
    growth = target.memory_mib() / before - 1
    await session.put(f"{mock_url}/pace/0")

    def p99(values: list[float]) -> float:
        return sorted(values)[int(len(values) * 0.99)] if values else float("nan")

    return (
        f"goodput {good / peak:.2f} of the peak ({good:.1f}/s of {peak:.1f}/s), {len(refused)} refused, p99 "
        f"{p99(refused):.0f} ms; /healthz p99 {p99(health):.0f} ms; memory {growth:+.1%}"
    )


async def rounds(
    targets: list[Target], number: int, figure: Callable[[Target], Awaitable[float]]
) -> dict[str, tuple[float, float, float]]:
    """Median, least and most, the targets in turn."""
    values: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(number):
        for target in targets:
            values[target.name].append(await figure(target))
    return {name: (statistics.median(found), min(found), max(found)) for name, found in values.items()}


async def measure(targets: list[Target], mock: Target, arguments: argparse.Namespace) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        for target in (mock, *targets):
            await target.ready(session)
        speed = await rounds(targets, arguments.rounds, lambda one: throughput(session, one, arguments.seconds))
        delay = await rounds([mock, *targets], arguments.rounds, lambda one: latency_ms(session, one))
        for name, (median, low, high) in speed.items():
            print(f"{name:<10} requests/s, 32 connections   {median:8.0f}   ({low:.0f} … {high:.0f})")
        for name, (median, low, high) in delay.items():
            added = median - delay[mock.name][0]
            print(
                f"{name:<10} p50 at 1 connection, ms      {median:8.1f}   ({low:.1f} … {high:.1f}), added {added:.1f}"
            )
        for target in targets:
            print(f"{target.name:<10} resident memory, MiB         {target.memory_mib():8.0f}")
        jeeves = targets[0]
        leaving = [await disconnect_ms(session, jeeves, mock.url) for _ in range(arguments.rounds)]
        middle = statistics.median(leaving)
        print(f"{jeeves.name:<10} disconnect, ms               {middle:8.0f}   (max {max(leaving):.0f})")
        print(f"{jeeves.name:<10} overload: {await overload(session, jeeves, mock.url, arguments.seconds)}")


def main() -> None:
    """Start, measure, print, stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--litellm", type=Path, help="LiteLLM's program, in an environment of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    ports = [free_port() for _ in range(3)]
    mock = Target("mock", [sys.executable, str(HERE / "mock_engine.py"), str(ports[0])], ports[0], {})
    targets: list[Target] = []
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        try:
            targets.append(
                Target(
                    "jeeves",
                    [sys.executable, "-m", "jeeves_gateway"],
                    ports[1],
                    {"model": "jeeves", "jeeves": {"retrieval": False}},
                    JEEVES_PORT=str(ports[1]),
                    JEEVES_DATA_DIR=folder,
                    JEEVES_GATEWAY_ENGINE_URL=f"{mock.url}/v1",
                    JEEVES_GATEWAY_SLOTS=str(SLOTS),
                    JEEVES_GATEWAY_QUEUE_WAITING_MAX="32",
                    JEEVES_GATEWAY_RATE_LIMIT="1000000/second",
                    JEEVES_LOG_LEVEL="INFO",
                )
            )
            if arguments.litellm:
                config = Path(folder) / "litellm.yaml"
                config.write_text(
                    "model_list:\n  - model_name: mock\n    litellm_params:\n      model: openai/mock\n"
                    f"      api_base: {mock.url}/v1\n      api_key: none\n"
                )
                command = [
                    str(arguments.litellm),
                    "--config",
                    str(config),
                    "--port",
                    str(ports[2]),
                    "--num_workers",
                    "1",
                ]
                targets.append(Target("litellm", command, ports[2], {}))
            asyncio.run(measure(targets, mock, arguments))
        finally:
            for target in (*targets, mock):
                target.stop()


if __name__ == "__main__":
    main()
