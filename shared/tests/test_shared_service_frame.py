"""The frame of every service, under a real server."""

import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client import CollectorRegistry

from jeeves_shared.contracts.base import Contract
from jeeves_shared.errors import Conflict, JeevesError, NotReady, SettingsError
from jeeves_shared.service import create_service, make_data_dir
from jeeves_shared.settings import ServiceSettings, load_settings

TOKEN = "long-and-random"


class Body(Contract):
    number: int
    name: str


def routes(state: dict[str, str | None]) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/things/{thing_id}")
    async def create(thing_id: str, body: Body) -> dict[str, str]:
        return {"id": thing_id, "name": body.name}

    @router.get("/conflict")
    async def conflict() -> None:
        raise Conflict("It is taken: choose another.", ("one", "two"))

    @router.get("/away")
    async def away() -> None:
        raise NotReady("The engine starts: try again.")

    @router.get("/bug")
    async def bug() -> None:
        raise KeyError("secret detail")

    @router.get("/half")
    async def half() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("in the middle")

        return StreamingResponse(pieces())

    return router


@pytest.fixture(scope="module")
def state() -> dict[str, str | None]:
    return {"engine": None}


@pytest.fixture(scope="module")
def servers(state: dict[str, str | None]) -> Iterator[dict[str, str]]:
    """The same application without and with a token, on real sockets."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def engine_ready() -> str | None:
        return state["engine"]

    running = []
    addresses = {}
    for name, token in (("open", None), ("closed", TOKEN)):
        app = create_service(
            "probe",
            [routes(state)],
            lifespan=lifespan,
            readiness={"engine": engine_ready},
            registry=CollectorRegistry(),
            token=token,
        )
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread, listener))
        addresses[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    while not all(server.started for server, _, _ in running):
        time.sleep(0.02)
    yield addresses
    for server, thread, listener in running:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def http(servers: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=servers["open"], trust_env=False) as client:
        yield client


@pytest.fixture
def closed(servers: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=servers["closed"], trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not-found"),
        ("DELETE", "/v1/things/1", 405, "method-not-allowed"),
        ("POST", "/v1/things/1", 422, "invalid-request"),
        ("GET", "/v1/conflict", 409, "conflict"),
        ("GET", "/v1/away", 503, "not-ready"),
        ("GET", "/v1/bug", 500, "internal"),
    ],
)
def test_every_error_is_a_problem_with_its_request_id(
    method: str, path: str, status: int, code: str, http: httpx.Client
) -> None:
    response = http.request(method, path, headers={"X-Request-Id": "r-42"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "r-42"
    problem = response.json()
    assert problem["type"] == f"urn:jeeves:problem:{code}"
    assert problem["status"] == status
    assert problem["instance"] == "r-42"
    assert problem["detail"]


def test_mistakes_are_all_named_without_the_input(http: httpx.Client) -> None:
    response = http.post("/v1/things/1", json={"number": "hunter2", "colour": "blue"})
    assert {mistake.split(":")[0] for mistake in response.json()["errors"]} == {
        "body.number",
        "body.name",
        "body.colour",
    }
    assert "hunter2" not in response.text
    broken = http.post("/v1/things/1", content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 422


def test_typed_errors_keep_their_list_and_say_when_to_come_back(http: httpx.Client) -> None:
    assert http.get("/v1/conflict").json()["errors"] == ["one", "two"]
    assert int(http.get("/v1/away").headers["retry-after"]) > 0
    assert "allow" in http.delete("/v1/things/1").headers


def test_unexpected_error_says_nothing_to_the_client_and_all_to_the_log(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = http.get("/v1/bug", headers={"X-Request-Id": "r-43"})
    assert "secret detail" not in response.text
    record = next(record for record in caplog.records if record.exc_info)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_error_in_the_middle_breaks_the_connection_off(http: httpx.Client) -> None:
    """A stream that just ends would look complete."""
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/v1/half")


def test_request_ids_are_echoed_or_made(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-Id": "build-7.a_B"}).headers["x-request-id"] == "build-7.a_B"
    made = {http.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize("wrong", ["", "a b", "x" * 65, 'a"b', "<script>", "ä".encode("latin-1")])
def test_bad_request_ids_are_replaced(wrong: str | bytes, http: httpx.Client) -> None:
    given = http.get("/healthz", headers={b"X-Request-Id": wrong if isinstance(wrong, bytes) else wrong.encode()})
    assert len(given.headers["x-request-id"]) == 32


def test_probes(http: httpx.Client, state: dict[str, str | None]) -> None:
    assert http.get("/healthz").json()["status"] == "ok"
    assert http.get("/readyz").json() == {"status": "ready", "missing": {}}
    state["engine"] = "it loads the model"
    try:
        response = http.get("/readyz")
    finally:
        state["engine"] = None
    assert response.status_code == 503
    assert response.json()["missing"] == {"engine": "it loads the model"}


def test_labels_of_metrics_are_bounded(http: httpx.Client) -> None:
    for number in range(20):
        http.post(f"/v1/things/{number}", json={"number": 1, "name": "x"})
        http.get(f"/attack/{number}")
        http.request(f"METHOD{number}", "/v1/things/1")
    lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith("jeeves_probe_requests_total")]
    assert 'jeeves_probe_requests_total{method="POST",route="/v1/things/{thing_id}",status="200"} 20.0' in lines
    assert any('route="unmatched",status="404"' in line for line in lines)
    assert not any("attack" in line or "METHOD" in line for line in lines)
    assert len(lines) < 25


def test_openapi_is_served(http: httpx.Client) -> None:
    assert "/v1/things/{thing_id}" in http.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("authorization", [None, "", "Bearer", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}"])
def test_without_the_token_nothing_but_health_and_metrics(authorization: str | None, closed: httpx.Client) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/v1/conflict", "/nope", "/docs", "/openapi.json"):
        response = closed.get(path, headers=headers)
        assert response.status_code == 401, path
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["instance"] == response.headers["x-request-id"]
        assert TOKEN not in response.text
    for path in ("/healthz", "/readyz", "/metrics"):
        assert closed.get(path, headers=headers).status_code == 200, path


def test_with_the_token(closed: httpx.Client) -> None:
    assert closed.get("/v1/conflict", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 409


def test_every_error_has_a_name_of_its_own() -> None:
    def tree(kind: type[JeevesError]) -> list[type[JeevesError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]

    errors = [kind for kind in tree(JeevesError) if kind.__module__ == "jeeves_shared.errors"]
    codes = [kind.code for kind in errors]
    assert len(set(codes)) == len(codes)
    assert all(400 <= kind.status <= 599 and kind.__doc__ for kind in errors)
    json.dumps(errors[0]("x", ("y",)).problem("r").model_dump(mode="json"))


def test_data_folder_that_cannot_be_made_is_a_setting() -> None:
    with pytest.raises(SettingsError, match="JEEVES_DATA_DIR"):
        make_data_dir(load_settings(ServiceSettings, data_dir="/proc/jeeves").data_dir)
