"""Bodies and heads that are too long, too deep, too many or too slow: refused by name, and not read to the end."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from jeeves_gateway.errors import BadChatRequest
from jeeves_gateway.openai_form import MESSAGES_MAX, parse_chat_request
from jeeves_gateway.protocol import BoundedHttp

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
ROUTES = [CHAT, "/v1/embeddings", "/v1/diagnose", FEEDBACK, "/v1/conversations", "/v1/admin/keys"]
HUGE = 1024**3
MUCH = 16 * 1024 * 1024
"""More than the kernel keeps of what nobody reads."""


class Sender:
    """A client that sends what it likes, whatever comes back."""

    def __init__(self, port: int) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), 10)
        self.sent = 0

    def head(self, path: str, *headers: str) -> "Sender":
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers, "", ""]
        self.connection.sendall("\r\n".join(lines).encode())
        return self

    def push(self, block: bytes, bytes_max: int) -> "Sender":
        """Send until the other side has had enough."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while self.sent < bytes_max:
                self.sent += self.connection.send(block)
        return self

    def reply(self) -> tuple[int, str]:
        """Status, and the rest up to the end of the connection."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while block := self.connection.recv(65536):
                got += block
        self.connection.close()
        return int(got.split(b" ", 2)[1]), got.decode()


@pytest.fixture
def sender(start_gateway) -> Iterator[Callable[[], Sender]]:
    settings = {"gateway_body_silence_seconds_max": 0.3, "gateway_rate_limit": "1000/minute"}
    with start_gateway(serve_index=False, **settings) as gateway:
        yield lambda: Sender(gateway.base_url.port)


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_announced_too_long_is_refused_before_it_is_sent(sender, path: str) -> None:
    status, reply = sender().head(path, f"Content-Length: {HUGE}").reply()
    assert status == 413 and "connection: close" in reply.lower()
    code = "body_too_large" if path in ROUTES[:2] else "urn:jeeves:problem:body-too-large"
    assert code in reply


@pytest.mark.parametrize("path", [CHAT, FEEDBACK, "/v1/no-such-route"])
def test_a_body_without_an_end_is_not_read_to_its_end(sender, path: str) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    one = sender().head(path, "Transfer-Encoding: chunked").push(chunk, MUCH)
    assert one.sent < MUCH
    status, reply = one.reply()
    assert status == (404 if "no-such" in path else 413) and "connection: close" in reply.lower()


@pytest.mark.parametrize("path", [CHAT, FEEDBACK])
def test_a_body_that_pauses_is_ended_wherever_it_goes(sender, path: str) -> None:
    status, reply = sender().head(path, "Content-Length: 100000").push(b"{", 1).reply()
    assert status == 408 and "too slowly" in reply


def test_a_short_body_that_nobody_wanted_leaves_the_connection_open(sender) -> None:
    one = sender().head("/v1/no-such-route", "Content-Length: 3")
    assert b" 404 " in one.connection.recv(65536)
    one.connection.sendall(b"abc")
    status, _ = one.head("/v1/no-such-route", "Content-Length: 3", "Connection: close").reply()
    assert status == 404


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 200_000, b'{"messages":' + b"[" * 900_000, b'"\\ud800"'])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadChatRequest, match="not JSON"):
        parse_chat_request(body)


def test_too_many_messages_are_refused_by_their_number() -> None:
    with pytest.raises(BadChatRequest, match=f"100000 messages, {MESSAGES_MAX} are allowed"):
        parse_chat_request(json.dumps({"messages": [{}] * 100_000}).encode())


class Impatient(BoundedHttp):
    head_seconds_max: ClassVar[float] = 0.3


@pytest.mark.parametrize(("block", "bytes_max"), [(b"X-More: and more\r\n" * 64, MUCH), (b"x" * 4096, MUCH), (b"X", 1)])
def test_a_head_without_an_end_costs_no_memory_and_no_socket(serve, block: bytes, bytes_max: int) -> None:
    async def elsewhere(scope, receive, send) -> None:
        if scope["type"] == "http":
            raise AssertionError("a head without an end is no request")

    with serve(elsewhere, http=Impatient) as url:
        one = Sender(int(url.rpartition(":")[2]))
        one.connection.sendall(b"POST / HTTP/1.1\r\nX-Long: ")
        one.push(block, bytes_max)
        assert one.sent < MUCH
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert one.connection.recv(100) == b""
        assert time.monotonic() - started < 10
        one.connection.close()


def test_a_head_may_take_its_time_on_a_connection_that_is_used_again(serve) -> None:
    async def app(scope, receive, send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    with serve(app, http=Impatient) as url:
        connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10)
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)
        connection.close()
