"""A real HTTP server on loopback that a simulator speaks its protocol through, with faults on demand.

Faults are put on a path and used up one after the other:

    server.fault("/t/7.json", Fault.status(429, retry_after="1"), Fault.status(503), Fault.truncated())
"""

import gzip
import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Query:
    """A request as a simulator sees it."""

    path: str
    fields: dict[str, list[str]]
    headers: dict[str, str]

    def one(self, name: str, default: str = "") -> str:
        return self.fields.get(name, [default])[-1]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Any, status: int = 200, **headers: str) -> "Answer":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(content).encode(), {"Content-Type": "application/json; charset=utf-8", **named})

    @classmethod
    def text(cls, text: str | bytes, status: int = 200, **headers: str) -> "Answer":
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = text if isinstance(text, bytes) else text.encode()
        return cls(status, body, {"Content-Type": "text/plain; charset=utf-8", **named})


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: str
    answer: Answer = field(default_factory=Answer)
    seconds: float = 0.0

    @classmethod
    def status(cls, status: int, body: str = "", **headers: str) -> "Fault":
        return cls("answer", Answer.text(body, status, **headers))

    @classmethod
    def json(cls, content: Any, status: int) -> "Fault":
        return cls("answer", Answer.of(content, status))

    @classmethod
    def truncated(cls) -> "Fault":
        """Half of the body, and the end of the connection."""
        return cls("truncated")

    @classmethod
    def malformed(cls) -> "Fault":
        """A whole body that is no JSON."""
        return cls("answer", Answer.text('{"topic_list": {"topics": ['))

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        """One byte after the other, for so long."""
        return cls("slow", seconds=seconds)

    @classmethod
    def reset(cls) -> "Fault":
        """No answer at all."""
        return cls("reset")


class SimulatorServer:
    """Serves one simulator.

    Args:
        respond: the simulator.
        compress: whether bodies are sent with gzip when the client takes it.
    """

    def __init__(self, respond: Callable[[Query], Answer], *, compress: bool = False) -> None:
        self.requests: list[Query] = []
        self.before: Callable[[Query], None] = lambda query: None
        self._respond = respond
        self._compress = compress
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def fault(self, path: str, *faults: Fault) -> None:
        self._faults[path].extend(faults)

    def counts(self, prefix: str = "/") -> Counter[str]:
        return Counter(query.path for query in self.requests if query.path.startswith(prefix))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        fields: dict[str, list[str]] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            fields.setdefault(name, []).append(value)
        query = Query(parts.path, fields, {name.lower(): value for name, value in handler.headers.items()})
        with self._lock:
            self.requests.append(query)
            faults = self._faults.get(query.path) or self._faults.get("*")
            fault = faults.popleft() if faults else None
            self.before(query)
            answer = self._respond(query)
        try:
            self._send(handler, query, answer, fault)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def _send(self, handler: BaseHTTPRequestHandler, query: Query, answer: Answer, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "reset":
            handler.close_connection = True
            handler.connection.close()
            return
        if fault is not None and fault.kind == "answer":
            answer = fault.answer
        body, headers = answer.body, dict(answer.headers)
        if self._compress and "gzip" in query.headers.get("accept-encoding", "") and body:
            body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
        handler.send_response(answer.status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if fault is not None and fault.kind == "truncated":
            handler.wfile.write(body[: len(body) // 2])
            handler.close_connection = True
        elif fault is not None and fault.kind == "slow":
            for number in range(len(body)):
                handler.wfile.write(body[number : number + 1])
                handler.wfile.flush()
                time.sleep(fault.seconds / len(body))
        else:
            handler.wfile.write(body)
