"""`jeeves diagnose` as a process, against a stand-in that records what it was sent."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("jeeves")
FINDINGS = {
    "failure_type": "missing-tool",
    "rule": "command-not-found",
    "result": "FAILURE",
    "failing_stage": "Build",
    "cause": "The program `mvn` is not installed on the agent, or not on its PATH.",
    "evidence": [{"line": 15, "text": "mvn: command not found", "stage": "Build"}],
    "fix": ["Install `mvn`."],
    "confidence": "high",
    "lines": 20,
    "size_bytes": 900,
    "masked": [{"placeholder": "[SECRET-1]", "kind": "secret", "count": 1}],
}
DIAGNOSIS = {
    "id": "chatcmpl-1",
    "findings": FINDINGS,
    "explanation": "Install it. [1]",
    "citations": [{"number": 1, "source_path": "a.md", "url": "", "title": "Tools", "section": "Maven"}],
    "rung": "extractive",
    "reasons": ["unavailable"],
}
PREVIEW = {"findings": FINDINGS, "messages": [{"role": "system", "content": "You are Jeeves."}]}


class Gateway(BaseHTTPRequestHandler):
    """Answers every diagnosis alike."""

    seen: list[tuple[str, str, bytes]] = []  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers.get("Authorization", ""), body))
        status = 422 if body == b"bad" else 200
        answer = (
            {"type": "x", "title": "x", "status": 422, "detail": "The log is empty."} if status == 422 else DIAGNOSIS
        )
        text = json.dumps(PREVIEW if "preview=true" in self.path else answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def gateway_url() -> Iterator[str]:
    Gateway.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with contextlib.closing(server.socket):
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def jeeves(url: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "JEEVES_GATEWAY_URL": url, "JEEVES_API_KEY": "jk-test", "COLUMNS": "160"}
    return subprocess.run(
        [COMMAND, "diagnose", *arguments], env=environment, input=stdin, capture_output=True, timeout=60, check=False
    )


def test_file_is_sent_as_it_is(gateway_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log.gz"
    log.write_bytes(gzip.compress(b"x" * 200_000))
    done = jeeves(gateway_url, str(log))
    assert done.returncode == 0, done.stderr
    path, key, body = Gateway.seen[-1]
    assert path.startswith("/v1/diagnose") and key == "Bearer jk-test" and body == log.read_bytes()
    said = done.stdout.decode()
    for words in (
        "missing-tool in stage Build",
        "`mvn` is not installed",
        "15 │ mvn: command not found",
        "Fix 1.",
        "[1] Tools",
    ):
        assert words in said
    assert json.loads(jeeves(gateway_url, str(log), "--json").stdout)["findings"]["rule"] == "command-not-found"


def test_stdin_address_and_preview(gateway_url: str) -> None:
    assert jeeves(gateway_url, "-", stdin=b"a log").returncode == 0
    assert Gateway.seen[-1][2] == b"a log"
    assert jeeves(gateway_url, "https://ci.example.org/job/a/1/").returncode == 0
    assert json.loads(Gateway.seen[-1][2]) == {"build_url": "https://ci.example.org/job/a/1/"}
    preview = jeeves(gateway_url, "-", "--preview", stdin=b"a log").stdout.decode()
    assert "--- system\nYou are Jeeves." in preview and "[SECRET-1]" in preview


def test_errors_are_messages_and_exit_codes(gateway_url: str, tmp_path: Path) -> None:
    missing = jeeves(gateway_url, str(tmp_path / "nothing"))
    assert missing.returncode == 2 and b"cannot be read" in missing.stderr
    refused = jeeves(gateway_url, "-", stdin=b"bad")
    assert refused.returncode == 1 and b"The log is empty." in refused.stderr
    away = jeeves("http://127.0.0.1:9", "-", stdin=b"x")
    assert away.returncode == 4
