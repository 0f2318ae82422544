"""What hostile requests cost the gateway, in CPU time of its process. Printed, never asserted.

`make bench-refusals`, or `python tests/bench/refusal_bench.py [--requests 40]`. `whole` is from the first byte to the
end of the connection, `after` what is spent once the first byte of the refusal is out, however much the client still
sends. CPU time hardly depends on what else runs; what the gateway uses when nobody asks is taken off.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway_peers import CHAT, HEADERS, KEY, Server, free_port, jeeves, mock

MIB = 1024 * 1024
OURS = {"model": "jeeves", "messages": [{"role": "user", "content": "What is a node?"}], "jeeves": {"retrieval": False}}
MILLION = b'{"messages":[' + b'{"role":"user","content":""},' * 1_000_000 + b"{}]}"
_IDLE_SECONDS = 5.0
Body = Callable[[], AsyncIterator[bytes]]


def cpu_milliseconds(server: Server) -> float:
    """Run time of all threads, as the scheduler counts it."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def head(path: str, length: int | None) -> bytes:
    """Of a POST; without a length it is chunked."""
    size = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{HEADERS}Content-Type: application/json\r\n{size}\r\n\r\n".encode()


async def whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def blanks(total: int, chunked: bool) -> AsyncIterator[bytes]:
    """A long body of nothing."""
    block = b" " * 65536
    for _ in range(total // len(block)):
        yield b"10000\r\n" + block + b"\r\n" if chunked else block


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65536):
        block = data[start : start + 65536]
        yield b"%x\r\n%b\r\n" % (len(block), block)
    yield b"0\r\n\r\n"


async def idle_rate(server: Server) -> float:
    """Milliseconds of CPU in a second without requests."""
    before = cpu_milliseconds(server)
    await asyncio.sleep(_IDLE_SECONDS)
    return (cpu_milliseconds(server) - before) / _IDLE_SECONDS


async def exchange(server: Server, first: bytes, body: AsyncIterator[bytes], idle: float) -> tuple[str, float, float]:
    """Send until the other side has had enough: status, CPU of all, CPU after the refusal began."""

    def spent() -> float:
        return cpu_milliseconds(server) - idle * time.monotonic()

    before = spent()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    at_reply = float("nan")

    async def listen() -> str:
        nonlocal at_reply
        reply = b""
        with contextlib.suppress(ConnectionError):
            reply = await reader.read(300)
            at_reply = spent()
            if b"onnection: close" in reply:
                while await reader.read(65536):
                    pass
        return reply[9:12].decode()

    listening = asyncio.create_task(listen())
    with contextlib.suppress(ConnectionError):
        writer.write(first)
        async for block in body:
            writer.write(block)
            await writer.drain()
    status = await listening
    writer.close()
    await asyncio.sleep(0.02)
    end = spent()
    return status, end - before, end - at_reply


async def drip(server: Server, begin: bytes, seconds: float, every: float) -> None:
    """A byte now and then, until the other side has had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    ended = asyncio.create_task(reader.read())
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError):
        writer.write(begin)
        while time.monotonic() < deadline and not ended.done():
            await asyncio.sleep(every)
            writer.write(b"x")
        await ended
    writer.close()


async def measure(requests: int, folder: Path) -> None:
    engine = mock(free_port())
    server = jeeves("refusals", folder, f"{engine.url}/v1", OURS, JEEVES_GATEWAY_BODY_SILENCE_SECONDS_MAX="1")
    json_of = {"a": 1}
    for _ in range(400):
        json_of = {"a": json_of}  # type: ignore[dict-item]
    nested = json.dumps({**OURS, "messages": [{"role": "user", "content": json_of}]}).encode()
    small = b'{"messages":[' + b"{}," * 340_000 + b"{}]}"
    cases: list[tuple[str, bytes, Body]] = [
        ("unknown model, 60 bytes (to compare)", b"", lambda: whole(b'{"model":"x","messages":[]}')),
        ("64 MiB announced", head(CHAT, 64 * MIB), lambda: blanks(64 * MIB, chunked=False)),
        ("64 MiB in chunks", head(CHAT, None), lambda: blanks(64 * MIB, chunked=True)),
        ("64 MiB in chunks, no such route", head("/v1/x", None), lambda: blanks(64 * MIB, chunked=True)),
        ("64 MiB in chunks, /v1/feedback", head("/v1/feedback", None), lambda: blanks(64 * MIB, chunked=True)),
        ("a million messages, announced", head(CHAT, len(MILLION)), lambda: whole(MILLION)),
        ("a million messages, in chunks", head(CHAT, None), lambda: chunks(MILLION)),
        ("340,000 messages in 1 MiB", b"", lambda: whole(small)),
        ("1 MiB of [", b"", lambda: whole(b"[" * (MIB - 1))),
        ("400 objects in each other", b"", lambda: whole(nested)),
        ("1 MiB of blanks (to compare)", b"", lambda: whole(b" " * MIB)),
    ]
    try:
        await engine.ready()
        await server.ready()
        idle = await idle_rate(server)
        print(f"idle: {idle:.2f} ms CPU a second")
        print(f"{'request':<38} {'status':<8} {'whole, ms CPU':>24} {'after, ms CPU':>24}")
        for name, first, body in cases:
            found = []
            for _ in range(requests):
                begin = first or head(CHAT, sum([len(block) async for block in body()]))
                found.append(await exchange(server, begin, body(), idle))
            figures = [
                f"{statistics.median(values):8.2f} ({min(values):.2f} … {max(values):.2f})"
                for values in ([all_of for _, all_of, _ in found], [after for *_, after in found])
            ]
            print(
                f"{name:<38} {'/'.join(sorted({status for status, *_ in found})):<8} {figures[0]:>24} {figures[1]:>24}"
            )
        for name, begin, every in (
            ("head, a byte each second", f"POST {CHAT} HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\nX: ".encode(), 1.0),
            ("body, silent after a byte", head(CHAT, 1000) + b"{", 3.0),
        ):
            before, started = cpu_milliseconds(server), time.monotonic()
            await asyncio.gather(*(drip(server, begin, 25, every) for _ in range(requests)))
            took = time.monotonic() - started
            each = (cpu_milliseconds(server) - before - idle * took) / requests
            print(f"{name:<38} {requests} at once: {each:.2f} ms CPU each, ended in {took:.0f} s")
    finally:
        server.stop()
        engine.stop()


def main() -> None:
    """Start, measure, print, stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jeeves-bench-") as folder:
        asyncio.run(measure(arguments.requests, Path(folder)))


if __name__ == "__main__":
    main()
