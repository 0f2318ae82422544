"""The shared library, executed by the runner against a gateway's stand-in that is healthy, slow, down or limiting."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from declarative_runner import DeclarativeRunner, Finished

LIBRARY = Path(__file__).parents[2] / "deploy" / "jenkins" / "shared-library"
SECRET = "hunter2-very-secret"
DIAGNOSIS = {
    "findings": {
        "cause": "The disk of the agent is full",
        "evidence": [{"line": 3, "text": "No space left on device", "stage": "Build"}],
        "fix": ["Delete old workspaces", "Discard old builds"],
        "confidence": "high",
    },
    "citations": [{"title": "Disk usage", "url": "https://example.org/disk"}],
}
CHAT = {
    "choices": [
        {
            "message": {
                "content": "Use withCredentials [1].",
                "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org/credentials"}}],
            }
        }
    ]
}
PIPELINE = """
@Library('jeeves') _

pipeline {
    agent any
    stages {
        stage('Build') {
            steps {
                withEnv(['DEPLOY_PASSWORD=%(secret)s']) {
                    sh '''echo "using $DEPLOY_PASSWORD and $(printf %%s "$DEPLOY_PASSWORD" | base64)"
                        echo No space left on device; false'''
                }
            }
        }
    }
    post {
        failure {
            script {
                withEnv(['DEPLOY_PASSWORD=%(secret)s']) {
                    def told = jeevesDiagnose(url: env.GATEWAY, credentialsId: 'jeeves-api-key', timeoutSeconds: 2)
                    echo "told: ${told?.cause} / ${told?.fix} / ${told?.sources}"
                    echo "asked: ${jeevesAsk(question: 'How?', url: env.GATEWAY, timeoutSeconds: 2)}"
                    writeFile file: 'Jenkinsfile', text: 'pipeline {}'
                    echo "review: ${jeevesReview(file: 'Jenkinsfile', url: env.GATEWAY, timeoutSeconds: 2) != null}"
                }
            }
        }
    }
}
"""


class Gateway:
    """A real HTTP server that answers as it is told to."""

    def __init__(self) -> None:
        self.mode = "healthy"
        self.requests: list[tuple[str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.requests.append((self.path, self.headers.get("Authorization", ""), body))
                if outer.mode == "slow":
                    time.sleep(6)
                status, content = {
                    "limiting": (429, b'{"error": {"message": "too many requests"}}'),
                    "unavailable": (503, b"{}"),
                    "broken": (200, b"<html>not JSON"),
                }.get(outer.mode, (200, json.dumps(DIAGNOSIS if "diagnose" in self.path else CHAT).encode()))
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except BrokenPipeError:
                    pass  # the client's time was up

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


def _build(runner: DeclarativeRunner, folder: Path, url: str, **env: str) -> Finished:
    file = folder / "Jenkinsfile"
    file.write_text(PIPELINE % {"secret": SECRET}, encoding="utf-8")
    return runner.run(
        file,
        folder / "state",
        libraries=[str(LIBRARY)],
        credentials={"jeeves-api-key": "key-0a1b2c3d"},
        env={"GATEWAY": url, **env},
        job="team/app",
    )


def test_a_failed_build_is_explained(runner: DeclarativeRunner, gateway: Gateway, tmp_path: Path) -> None:
    build = _build(runner, tmp_path, gateway.url)
    assert build.result == "FAILURE"
    assert "told: The disk of the agent is full / Delete old workspaces\nDiscard old builds" in build.log
    assert build.description == "Jeeves: The disk of the agent is full"
    (summary,) = build.named("summary")
    assert "line 3: No space left on device" in summary["text"]
    assert "Use withCredentials [1]." in build.log
    assert "review: true" in build.log
    paths = [path for path, _, _ in gateway.requests]
    assert paths == ["/v1/diagnose", "/v1/chat/completions", "/v1/chat/completions"]
    assert gateway.requests[0][1] == "Bearer key-0a1b2c3d"
    sent = gateway.requests[0][2]
    assert "No space left on device" in sent
    assert SECRET not in sent
    assert base64.b64encode(SECRET.encode()).decode() not in sent
    assert "key-0a1b2c3d" not in build.log
    assert not list(tmp_path.rglob("jeeves-*/body")), "nothing stays on the agent"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("slow", "it does not answer in time"),
        ("down", "it does not answer in time"),
        ("limiting", "it limits requests"),
        ("unavailable", "it is not available"),
        ("broken", "The build is not affected"),
    ],
)
def test_the_build_is_not_affected(
    mode: str, reason: str, runner: DeclarativeRunner, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.mode = mode
    if mode == "down":
        gateway.close()
    build = _build(runner, tmp_path, gateway.url)
    assert build.result == "FAILURE", "of the build itself"
    assert build.log.count("ERROR: ") == 1
    assert "told: null / null / null" in build.log
    assert reason in build.log
    assert build.description is None


@pytest.mark.parametrize("env", [{"JEEVES_OFF": "true"}, {"JEEVES_OFF_FOLDERS": "other, team"}])
def test_a_folder_may_opt_out(env: dict[str, str], runner: DeclarativeRunner, gateway: Gateway, tmp_path: Path) -> None:
    build = _build(runner, tmp_path, gateway.url, **env)
    assert build.result == "FAILURE"
    assert gateway.requests == []


MASKED = {
    "Authorization: Bearer abc.def": "Authorization: Bearer ****",
    "git clone https://ann:pa55@example.org/x.git": "git clone https://ann:****@example.org/x.git",
    "DB_PASSWORD=letmein, next": "DB_PASSWORD=****, next",
    'api_key: "12345"': 'api_key: "****"',
    "AKIAIOSFODNN7EXAMPLE": "****",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----": "****",
    "\x1b[8mha:////4AAAAA\x1b[0mStarted by user": "Started by user",
    "\x1b[31mred\x1b[0m": "red",
    "tokens per second: 12 of 40 tests": "tokens per second: 12 of 40 tests",
}


def test_masking(runner: DeclarativeRunner, gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "Jenkinsfile"
    file.write_text("node {\n    jeevesDiagnose(log: readFile(env.GIVEN), url: env.GATEWAY)\n}\n", encoding="utf-8")
    given = tmp_path / "given.txt"
    given.write_text("\n".join(MASKED), encoding="utf-8")
    runner.run(file, tmp_path / "state", libraries=[str(LIBRARY)], env={"GATEWAY": gateway.url, "GIVEN": str(given)})
    assert gateway.requests[0][2] == "\n".join(MASKED.values())
