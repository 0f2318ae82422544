"""An OpenAI-shaped engine for measuring gateways: some 10,000 answers a second on a core. `mock_engine.py PORT`.

It answers as fast as it can, or at a pace that `PUT /pace/<seconds between tokens>` sets. `GET /state` says how many
answers run and when the last client left before its answer's end. On the standard library's protocols, because a mock
that costs more than what it measures measures itself.
"""

import asyncio
import json
import sys
import time

WORDS = 16
_HEAD = {"id": "x", "object": "chat.completion", "created": 1, "model": "mock"}
_USAGE = {"prompt_tokens": 50, "completion_tokens": WORDS, "total_tokens": 50 + WORDS}
_MESSAGE = {"role": "assistant", "content": "".join(f"word{number} is here. " for number in range(WORDS))}
_WHOLE = json.dumps(
    {**_HEAD, "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}], "usage": _USAGE}
).encode()
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(**fields: object) -> bytes:
    data = f"data: {json.dumps({**_HEAD, 'object': 'chat.completion.chunk', **fields})}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


_TOKENS = [_event(choices=[{"index": 0, "delta": {"content": f"word{number} is here. "}}]) for number in range(WORDS)]
_DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_END = _event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]) + _event(choices=[], usage=_USAGE) + _DONE
_MODELS = json.dumps({"object": "list", "data": [{"id": "mock", "object": "model"}]}).encode()


class Engine(asyncio.Protocol):
    """One connection."""

    pause = 0.0
    running = 0
    most = 0
    left_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""
        self.work: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.work is not None and not self.work.done():
            Engine.left_at = time.time()
            self.work.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        line = head.split(b"\r\n", 1)[0]
        self.close = b"connection: close" in head
        if line.startswith(b"post"):
            streamed = b'"stream":true' in body or b'"stream": true' in body
            if Engine.pause:
                self.work = asyncio.get_running_loop().create_task(self._paced(streamed))
            elif streamed:
                self._send(_STREAM_HEAD + b"".join(_TOKENS) + _END)
            else:
                self._json(_WHOLE)
        elif line.startswith(b"put /pace/"):
            Engine.pause = float(line.split(b" ")[1].rsplit(b"/", 1)[1])
            Engine.most = 0
            self._json(b"{}")
        elif line.startswith(b"get /state"):
            state = {"running": Engine.running, "most": Engine.most, "left_at": Engine.left_at}
            self._json(json.dumps(state).encode())
        else:
            self._json(_MODELS)

    async def _paced(self, streamed: bool) -> None:
        Engine.running += 1
        Engine.most = max(Engine.most, Engine.running)
        try:
            if not streamed:
                await asyncio.sleep(Engine.pause * WORDS)
                self._json(_WHOLE)
                return
            self.transport.write(_STREAM_HEAD)
            for token in _TOKENS:
                await asyncio.sleep(Engine.pause)
                self.transport.write(token)
            self._send(_END)
        finally:
            Engine.running -= 1

    def _json(self, body: bytes) -> None:
        self._send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _send(self, data: bytes) -> None:
        self.transport.write(data)
        if self.close:
            self.transport.close()


async def main() -> None:
    """Serve until told to stop."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
