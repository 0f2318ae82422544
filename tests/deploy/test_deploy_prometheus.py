"""Prometheus' configuration, alerts and the dashboard, each checked by Prometheus itself."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

SERVICES = ("collector", "curator", "trainer", "gateway")
# Panels that have a value on services that nobody has asked anything yet.
ALWAYS = (
    "Jobs running", "Jobs failed, 24 h", "Engine", "Requests", "Failed requests", "Request time, p95", "Running",
    "Ended",
)  # fmt: skip
APT = "apt install prometheus"

Find = Callable[[str, str], Path]


@pytest.mark.parametrize(
    "command",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
)
def test_promtool_agrees(command: tuple[str, ...], root: Path, program: Find) -> None:
    done = subprocess.run(
        [program("promtool", APT), *command],
        cwd=root / "deploy" / "prometheus",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _alerts(root: Path) -> list[dict[str, Any]]:
    rules = yaml.safe_load((root / "deploy/prometheus/rules.yml").read_text(encoding="utf-8"))
    return [rule for group in rules["groups"] for rule in group["rules"]]


def test_every_alert_is_tested(root: Path) -> None:
    tests = yaml.safe_load((root / "deploy/prometheus/rules_test.yml").read_text(encoding="utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    silent = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
    assert fired == silent == {alert["alert"] for alert in _alerts(root)}


def test_every_alert_links_a_runbook_that_exists(root: Path) -> None:
    for alert in _alerts(root):
        file, anchor = alert["annotations"]["runbook_url"].split("#")
        headings = re.findall(r"^#+ (.+)$", (root / file).read_text(encoding="utf-8"), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert anchor in anchors, f"{file} says nothing on {alert['alert']}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: list[object], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], env=environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def live(root: Path, program: Find, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with the shipped configuration, but for its addresses, on the four services as processes."""
    prometheus = program("prometheus", APT)
    folder = tmp_path_factory.mktemp("prometheus")
    ports = {service: _free_port() for service in SERVICES}
    with ExitStack() as stack:
        for service, port in ports.items():
            environment = {
                **os.environ,
                "JEEVES_PORT": str(port),
                "JEEVES_DATA_DIR": str(folder / "data"),
                # No engine is needed for metrics: an address where none listens.
                "JEEVES_GATEWAY_ENGINE_URL": f"http://127.0.0.1:{_free_port()}/v1",
            }
            log = folder / f"{service}.log"
            stack.enter_context(_process([sys.executable, "-m", f"jeeves_{service}"], log, environment))
        for service, port in ports.items():
            _wait_for(f"http://127.0.0.1:{port}/healthz", folder / f"{service}.log")
        text = (root / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8").replace("15s", "1s")
        for service, port in ports.items():
            text = re.sub(rf'"{service}:\d+"', f'"127.0.0.1:{port}"', text)
        (folder / "prometheus.yml").write_text(text, encoding="utf-8")
        (folder / "rules.yml").write_bytes((root / "deploy/prometheus/rules.yml").read_bytes())
        port = _free_port()
        options = [
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        stack.enter_context(_process([prometheus, *options], folder / "prometheus.log", dict(os.environ)))
        _wait_for(f"http://127.0.0.1:{port}/-/ready", folder / "prometheus.log")
        yield f"http://127.0.0.1:{port}"


def _query(address: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{address}/api/v1/query", params={"query": expression}, timeout=10.0).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def _panels(root: Path) -> list[tuple[str, str]]:
    dashboard = json.loads((root / "deploy/grafana/dashboards/jeeves.json").read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]


def _all_up(address: str) -> None:
    deadline = time.monotonic() + 30.0
    while len(_query(address, 'up{job="jeeves"} == 1')) < len(SERVICES):
        assert time.monotonic() < deadline, _query(address, "up")
        time.sleep(0.5)


@pytest.mark.slow
def test_every_panel_asks_for_metrics_that_the_services_have(root: Path, live: str) -> None:
    """Also those that have no value yet: Prometheus knows a metric from its HELP line."""
    _all_up(live)
    known = set(httpx.get(f"{live}/api/v1/metadata", timeout=10.0).json()["data"])
    samples = known | {f"{name}{end}" for name in known for end in ("_bucket", "_sum", "_count", "_total")} | {"up"}
    for title, expression in _panels(root):
        patterns = re.findall(r'__name__=~"([^"]+)"', expression)
        names = patterns + re.findall(r"\b(?:jeeves_\w+|up)\b", re.sub(r'"[^"]*"', "", expression))
        assert names, title
        for name in names:
            assert any(re.fullmatch(name, sample) for sample in samples), f"{title}: no service has {name}"
        _query(live, expression.replace("$__rate_interval", "30s"))


@pytest.mark.slow
def test_what_always_has_a_value_shows_it(root: Path, live: str) -> None:
    _all_up(live)
    panels = dict(_panels(root))
    assert _query(live, panels["Services up"])[0]["value"][1] == "4"
    deadline = time.monotonic() + 60.0
    for title in ALWAYS:
        expression = panels[title].replace("$__rate_interval", "30s")
        # Nothing, or not a number, until there were two scrapes.
        while not [series for series in _query(live, expression) if series["value"][1] != "NaN"]:
            assert time.monotonic() < deadline, title
            time.sleep(0.5)


@pytest.mark.slow
def test_alerts_load_and_none_is_broken(live: str) -> None:
    deadline = time.monotonic() + 30.0
    while True:
        groups = httpx.get(f"{live}/api/v1/rules", timeout=10.0).json()["data"]["groups"]
        health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
        if set(health.values()) == {"ok"}:
            return
        assert time.monotonic() < deadline, health
        time.sleep(0.5)


def test_panels_use_the_provisioned_source(root: Path) -> None:
    source = yaml.safe_load(
        (root / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text(encoding="utf-8")
    )
    dashboard = json.loads((root / "deploy/grafana/dashboards/jeeves.json").read_text(encoding="utf-8"))
    used = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel}
    assert used == {entry["uid"] for entry in source["datasources"]}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
