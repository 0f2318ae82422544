"""The gateway's figures before a mock engine, each beside a peer in the same run. Printed, never asserted.

`make bench-gateway`, or `python tests/bench/gateway_bench.py [--rounds 5] [--seconds 3] [--overload-seconds 60]`.
Every figure is the median of alternating rounds, with the least and the most. Servers run on the first core, the mock
engine and the load on the others. `CPU` is what one request costs the server: it hardly depends on what else runs.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gateway_peers import CHAT, HEADERS, Server, free_port, jeeves, litellm, mock, nginx
from load_client import Connection, Reply, ask_once, hammer

MESSAGES = [{"role": "user", "content": "What is a node? " * 16}]
PLAIN = {"model": "mock", "messages": MESSAGES}
OURS = {"model": "jeeves", "messages": MESSAGES, "jeeves": {"retrieval": False, "fallback": False}}
SLOTS = 4
STREAMS = 64
RESTART_STREAMS = 32
OFF = {"reason": "bench", "until": "2999-01-01T00:00:00Z"}


def show(name: str, what: str, values: Sequence[float], unit: str = "") -> None:
    """A line of the table."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{name:<10} {what:<44} {middle:10.2f}  ({low:.2f} … {high:.2f}) {unit}", flush=True)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile; nan of nothing."""
    return sorted(values)[int(len(values) * 0.99)] if values else float("nan")


async def in_turn(
    targets: Sequence[Server], rounds: int, figure: Callable[[Server], Awaitable[float]]
) -> dict[str, list[float]]:
    """A figure of each target, round by round."""
    values: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            values[target.name].append(await figure(target))
    return values


def show_ratios(what: str, values: dict[str, list[float]], name: str, peers: Sequence[str]) -> None:
    """How a target compares with its peers, round by round."""
    for peer in peers:
        if peer in values:
            ratios = [mine / theirs for mine, theirs in zip(values[name], values[peer], strict=True) if theirs > 0]
            if ratios:
                show(name, f"{what} / {peer}", ratios, "×")


async def throughput(targets: Sequence[Server], rounds: int, seconds: float) -> None:
    cpu: dict[str, list[float]] = {target.name: [] for target in targets}

    async def figure(target: Server) -> float:
        before, started = target.cpu_seconds(), time.perf_counter()
        counts = await hammer(target.url, CHAT, target.body, connections=32, seconds=seconds, headers=HEADERS)
        took = time.perf_counter() - started
        if set(counts) - {200}:
            print(f"{target.name}: answers by status {counts}")
        cpu[target.name].append((target.cpu_seconds() - before) / max(1, sum(counts.values())) * 1000)
        return counts.get(200, 0) / took

    values = await in_turn(targets, rounds, figure)
    for name in values:
        show(name, "requests/s, 32 connections", values[name])
        show(name, "CPU of a request", cpu[name], "ms")
    ours = targets[0].name
    show_ratios("requests/s", values, ours, ["litellm", "nginx"])
    show_ratios("requests per CPU second", {n: [1 / v for v in c if v] for n, c in cpu.items()}, ours, ["litellm"])


async def latency(targets: Sequence[Server], direct: Server, rounds: int) -> None:
    async def figure(target: Server) -> float:
        connection, taken = Connection(target.url), []
        for _ in range(100):
            taken.append((await connection.ask("POST", CHAT, target.body, HEADERS)).seconds * 1000)
        connection.close()
        return statistics.median(taken)

    values = await in_turn([direct, *targets], rounds, figure)
    base = values.pop(direct.name)
    added = {name: [a - b for a, b in zip(found, base, strict=True)] for name, found in values.items()}
    for name, found in added.items():
        show(name, "added latency, p50 at 1 connection", found, "ms")
    show_ratios("added latency", added, targets[0].name, ["litellm", "nginx"])


async def stream_gaps(target: Server, direct: Server, rounds: int) -> None:
    await ask_once(direct.url, "PUT", "/pace/0.05")

    async def gaps_of(server: Server) -> float:
        body = {**(server.body if isinstance(server.body, dict) else {}), "stream": True}
        replies = await asyncio.gather(*(ask_once(server.url, "POST", CHAT, body, HEADERS) for _ in range(STREAMS)))
        if any(reply.status != 200 or not reply.body.endswith(b"data: [DONE]\n\n") for reply in replies):
            print(f"{server.name}: a stream failed")
        return p99([b - a for reply in replies for a, b in zip(reply.events_at[2:], reply.events_at[3:], strict=False)])

    values = await in_turn([target, direct], rounds, gaps_of)
    added = [(a - b) * 1000 for a, b in zip(values[target.name], values[direct.name], strict=True)]
    show(target.name, f"{STREAMS} streams, 20 events/s: added p99 gap", added, "ms")
    await ask_once(direct.url, "PUT", "/pace/0")


async def disconnect(target: Server, engine: Server, rounds: int) -> None:
    await ask_once(engine.url, "PUT", "/pace/0.5")
    for what, wait in (("streaming", 0.8), ("prefilling", 0.2)):
        taken = []
        for _ in range(rounds):
            body = {**OURS, "stream": True}
            asking = asyncio.create_task(ask_once(target.url, "POST", CHAT, body, HEADERS))
            await asyncio.sleep(wait)
            asking.cancel()
            left = time.time()
            await asyncio.gather(asking, return_exceptions=True)
            state: dict[str, float] = {"left_at": 0.0}
            while state["left_at"] < left and time.time() - left < 10:
                await asyncio.sleep(0.005)
                state = json_of(await ask_once(engine.url, "GET", "/state"))
            taken.append((state["left_at"] - left) * 1000 if state["left_at"] >= left else float("inf"))
        show(target.name, f"disconnect frees the engine, {what}", taken, "ms")
    await ask_once(engine.url, "PUT", "/pace/0")


async def switch(target: Server, rounds: int) -> None:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        await ask_once(target.url, "PUT", "/v1/admin/switches/generation", OFF, HEADERS)
        while (await ask_once(target.url, "POST", CHAT, OURS, HEADERS)).status == 200:
            pass
        taken.append((time.perf_counter() - started) * 1000)
        await ask_once(target.url, "DELETE", "/v1/admin/switches/generation", None, HEADERS)
    show(target.name, "operator switch takes effect", taken, "ms")


async def overload(target: Server, engine: Server, seconds: float) -> None:
    """Offer 10 times what the slots can do, at a fixed rate whatever comes back."""
    await ask_once(engine.url, "PUT", "/pace/0.0125")  # 0.2 s an answer: 20 a second in 4 slots

    async def offered(rate: float, length: float) -> tuple[float, list[float], list[float]]:
        replies: list[Reply] = []
        health: list[float] = []

        async def one() -> None:
            replies.append(await ask_once(target.url, "POST", CHAT, OURS, HEADERS))

        async def ask_health() -> None:
            health.append((await ask_once(target.url, "GET", "/healthz")).seconds * 1000)

        tasks = []
        begun = time.monotonic()
        for number in range(int(rate * length)):
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(one()))
            if number % 20 == 0:
                tasks.append(asyncio.create_task(ask_health()))
        await asyncio.gather(*tasks)
        good = sum(reply.status == 200 for reply in replies) / (time.monotonic() - begun)
        return good, [reply.seconds * 1000 for reply in replies if reply.status != 200], health

    peak, _, _ = await offered(20, min(10.0, seconds))
    before = target.memory_mib()
    good, refused, health = await offered(200, seconds)
    growth = target.memory_mib() / before - 1
    await ask_once(engine.url, "PUT", "/pace/0")
    show(target.name, f"overload, 10 × for {seconds:.0f} s: goodput / peak", [good / peak], f"{len(refused)} refused")
    show(target.name, "overload: refusals, p99", [p99(refused)], "ms")
    show(target.name, "overload: /healthz, p99", [p99(health)], "ms")
    show(target.name, "overload: memory", [growth * 100], "% more")


async def rolling_restart(old: Server, new: Server, engine: Server) -> None:
    """SIGTERM with streams under way; what begins afterwards goes to the next replica."""
    await ask_once(engine.url, "PUT", "/pace/0.1")
    body = {**OURS, "stream": True}
    streams = [asyncio.create_task(ask_once(old.url, "POST", CHAT, body, HEADERS)) for _ in range(RESTART_STREAMS)]
    running = 0.0
    while running < RESTART_STREAMS:
        running = json_of(await ask_once(engine.url, "GET", "/state"))["running"]
    old.process.send_signal(signal.SIGTERM)
    later = await asyncio.gather(*(ask_once(new.url, "POST", CHAT, body, HEADERS) for _ in range(RESTART_STREAMS)))
    done = await asyncio.gather(*streams, return_exceptions=True)
    whole = sum(isinstance(reply, Reply) and reply.body.endswith(b"data: [DONE]\n\n") for reply in [*done, *later])
    await ask_once(engine.url, "PUT", "/pace/0")
    show(old.name, f"rolling restart: whole of {2 * RESTART_STREAMS} streams", [whole])


def json_of(reply: Reply) -> dict[str, float]:
    """The mock engine's state."""
    found: dict[str, float] = json.loads(reply.body)
    return found


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    engine = mock(free_port())
    servers = [engine]
    url = f"{engine.url}/v1"
    rounds, seconds = arguments.rounds, arguments.seconds
    try:
        many = {"JEEVES_GATEWAY_SLOTS": "64", "JEEVES_GATEWAY_QUEUE_WAITING_MAX": "64"}
        few = {"JEEVES_GATEWAY_SLOTS": str(SLOTS), "JEEVES_GATEWAY_QUEUE_WAITING_MAX": "8"}
        wide = jeeves("jeeves", folder, url, OURS, **many)
        peers = [litellm(folder, url, PLAIN), nginx(folder, engine.port, PLAIN)]
        narrow, second = jeeves("jeeves-4", folder, url, OURS, **few), jeeves("jeeves-2", folder, url, OURS, **many)
        targets = [wide, *(peer for peer in peers if peer is not None)]
        servers += [*targets, narrow, second]
        engine.body = PLAIN
        for server in servers:
            await server.ready()
        if (os.cpu_count() or 1) > 1 and not arguments.unpinned:
            rest = [core for core in sorted(os.sched_getaffinity(0)) if core != 0]
            os.sched_setaffinity(0, rest)
            engine.pin(rest)
            for server in servers[1:]:
                server.pin([0])
        await throughput(targets, rounds, seconds)
        await latency(targets, engine, rounds)
        for target in targets:
            show(target.name, "resident memory after the load", [target.memory_mib()], "MiB")
        if len(targets) > 1:
            show("jeeves", "memory / litellm", [wide.memory_mib() / targets[1].memory_mib()], "×")
        await stream_gaps(wide, engine, rounds)
        await disconnect(narrow, engine, rounds)
        await switch(narrow, rounds)
        await overload(narrow, engine, arguments.overload_seconds)
        await rolling_restart(wide, second, engine)
    finally:
        for server in servers:
            server.stop()


def main() -> None:
    """Start, measure, print, stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--unpinned", action="store_true", help="let the scheduler place the servers")
    arguments = parser.parse_args()
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        asyncio.run(measure(arguments, Path(folder)))


if __name__ == "__main__":
    main()
