"""A gateway on a real port, a real index of a few sections, and an engine that speaks the real protocol."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from jeeves_gateway.app import create_app
from jeeves_gateway.settings import GatewaySettings
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.manifests import IndexManifest
from jeeves_shared.search.builder import Section, build_index
from jeeves_shared.search.embedding import EMBEDDER

SECTIONS = {
    ("Credentials", "Username and password"): (
        "The `usernamePassword` binding of `withCredentials` sets two variables, named by `usernameVariable` and "
        "`passwordVariable`.\n\n```groovy\nwithCredentials([usernamePassword(credentialsId: 'nexus',\n"
        "        usernameVariable: 'USER', passwordVariable: 'PASS')]) {\n    sh 'deploy.sh'\n}\n```\n\n"
        "Keep the block as small as possible."
    ),
    ("Credentials", "Secret files"): (
        "The `file` binding copies a secret file to a temporary file on the agent and sets a variable to its path."
    ),
    ("Agents", "Nodes and executors"): (
        "A node is any machine on which Jenkins can run a build. An executor is one slot on a node, so a node with "
        "four executors runs at most four builds at the same time."
    ),
    ("Stages", "Parallel stages"): (
        "A stage with a `parallel` block runs the stages inside it at the same time.\n\n```groovy\nparallel {\n"
        "    stage('Unit') { steps { sh 'make test' } }\n}\n```"
    ),
    ("Backup", "What to back up"): (
        "A backup of `JENKINS_HOME` must contain the jobs, the configuration and the secrets, but no workspaces."
    ),
    ("Plugins", "Updating plugins"): "Update plugins one at a time, and read the changelog of each plugin first.",
}


def passages() -> list[Passage]:
    """The sections as passages."""
    return [
        Passage(
            section_id=f"s{number}",
            source_path=f"test/{title.lower()}.md",
            url=f"https://docs.example.org/{title.lower()}",
            title=title,
            section=section,
            text=text,
            licence="CC-BY-SA-4.0",
        )
        for number, ((title, section), text) in enumerate(SECTIONS.items())
    ]


def store_index(store: ArtifactStore, folder: Path) -> IndexManifest:
    """Build the index and put it into a store."""
    path = folder / "index.sqlite"
    build_index([Section(item, (item.title, item.section), 1.0) for item in passages()], path)
    artifact = store.put_file(path)
    return IndexManifest(
        id=f"index-{artifact.sha256[:16]}",
        collections=("collection-test",),
        artifact=artifact,
        documents=5,
        sections=len(SECTIONS),
        embedder=EMBEDDER,
        created_at=datetime.now(UTC),
    )


@dataclass
class FakeEngine:
    """An OpenAI-compatible engine that says what a test wants, over real HTTP.

    Attributes:
        say: text by question; the last is said to every other question.
        behave: `well`, `refuse` (500), `die` (after two pieces), `hang` (no token), `drip` (slow pieces).
        requests: bodies that came in.
        aborted: requests whose client went away.
        echo: say the question again after `say`.
    """

    say: str = "A node is any machine on which Jenkins can run a build."
    behave: str = "well"
    echo: bool = False
    pause_seconds: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    aborted: int = 0
    running: int = 0
    most_running: int = 0

    def app(self) -> Starlette:
        """Its application."""
        return Starlette(
            routes=[
                Route("/v1/models", lambda _: JSONResponse({"object": "list", "data": []})),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        asked = await request.json()
        self.requests.append(asked)
        if self.behave == "refuse":
            return JSONResponse({"error": {"message": "no"}}, 500)
        said = f"{self.say} {asked['messages'][-1]['content'][-60:]}" if self.echo else self.say
        return StreamingResponse(self._stream(said), media_type="text/event-stream")

    async def _stream(self, said: str) -> AsyncIterator[str]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield _event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
            if self.behave == "hang":
                await asyncio.sleep(30)
            pieces = [said[start : start + 7] for start in range(0, len(said), 7)]
            for number, piece in enumerate(pieces):
                if self.behave == "die" and number == 2:
                    return
                await asyncio.sleep(self.pause_seconds)
                yield _event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            yield _event({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": len(pieces)}})
            yield "data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted += 1
            raise
        finally:
            self.running -= 1


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


@contextlib.contextmanager
def running(app: Any, **options: Any) -> Iterator[str]:
    """Serve an application by uvicorn in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=2, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


class GatewayClient(httpx.Client):
    """An HTTP client that knows how to ask."""

    def ask(self, question: str, **more: Any) -> httpx.Response:
        """One question."""
        return self.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": question}], **more})

    def answer(self, question: str, **more: Any) -> tuple[str, dict[str, Any]]:
        """Text and extension of one answer."""
        body = self.ask(question, **more).raise_for_status().json()
        return body["choices"][0]["message"]["content"], body["jeeves"]

    def listen(self, question: str, **more: Any) -> tuple[httpx.Response, list[Any]]:
        """One question, streamed: the response and its events; the end marker is the text `[DONE]`."""
        body = {"messages": [{"role": "user", "content": question}], "stream": True, **more}
        with self.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        return response, [line if line == "[DONE]" else json.loads(line) for line in lines]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.02)


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """Waits until something is true."""
    return wait_until


@pytest.fixture(scope="session")
def some_passages() -> list[Passage]:
    """Passages of five documents."""
    return passages()


@pytest.fixture
def serve() -> Callable[[Any], contextlib.AbstractContextManager[str]]:
    """Serves an application on a real port."""
    return running


@pytest.fixture
def engine() -> FakeEngine:
    """The engine behind `gateway`."""
    return FakeEngine()


@pytest.fixture(scope="session")
def shared_index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IndexManifest]:
    """A store that holds an index: built once."""
    folder = tmp_path_factory.mktemp("store")
    return folder, store_index(ArtifactStore(str(folder)), tmp_path_factory.mktemp("index"))


StartGateway = Callable[..., contextlib.AbstractContextManager[GatewayClient]]


@pytest.fixture
def start_gateway(tmp_path: Path, engine: FakeEngine, shared_index: tuple[Path, IndexManifest]) -> StartGateway:
    """Starts gateways before the fake engine; keyword arguments are settings."""

    @contextlib.contextmanager
    def start(serve_index: bool = True, **settings: Any) -> Iterator[GatewayClient]:
        with running(engine.app()) as engine_url:
            values = {
                "data_dir": tmp_path / "data",
                "store_url": str(shared_index[0]),
                "gateway_engine_url": f"{engine_url}/v1",
                **settings,
            }
            with (
                running(create_app(GatewaySettings(**values))) as url,
                GatewayClient(base_url=url, timeout=20) as client,
            ):
                if serve_index:
                    body = {"index": shared_index[1].model_dump(mode="json")}
                    client.put("/v1/admin/index", json=body).raise_for_status()
                wait_until(lambda: "engine" not in client.get("/readyz").json()["missing"])
                yield client

    return start


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Iterator[GatewayClient]:
    """A gateway with an index and the fake engine."""
    with start_gateway() as client:
        yield client
