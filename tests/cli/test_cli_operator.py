"""`jeeves keys` and `jeeves switch` against a real gateway: limits, erasing, features."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from jeeves_gateway.app import create_app
from jeeves_gateway.settings import GatewaySettings

Operator = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A gateway without engine and index: the operator's side needs neither."""
    settings = GatewaySettings(
        data_dir=tmp_path, store_url=str(tmp_path / "store"), gateway_engine_url="http://127.0.0.1:9/v1"
    )
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the gateway did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def operate(url: str) -> Operator:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "JEEVES_GATEWAY_URL": url}
        return subprocess.run(
            [str(Path(sys.executable).with_name("jeeves")), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_limits_are_shown_changed_and_taken_away(operate: Operator) -> None:
    key = said(operate("keys", "create", "team-a"))["id"]
    assert set(said(operate("keys", "limits", key))["limits"].values()) == {None}
    said(operate("keys", "limits", key, "--requests-per-minute", "30"))
    shown = said(operate("keys", "limits", key, "--concurrent", "2"))["limits"]
    assert (shown["requests_per_minute"], shown["concurrent"]) == (30, 2)
    assert set(said(operate("keys", "limits", key, "--as-settings"))["limits"].values()) == {None}
    assert said(operate("keys", "erase", key))["key"] == key


def test_features_are_switched_off_and_on(operate: Operator, url: str) -> None:
    off = said(operate("switch", "off", "diagnose", "--reason", "drill", "--minutes", "5"))
    assert off["reason"] == "drill"
    assert list(said(operate("switch", "list"))) == ["diagnose"]
    refused = httpx.post(f"{url}/v1/diagnose", content=b"Finished: SUCCESS", timeout=20)
    assert refused.status_code == 503 and "drill" in refused.text
    assert said(operate("switch", "on", "diagnose")) == {"diagnose": "on"}
    assert said(operate("switch", "list")) == {}
    audit = httpx.get(f"{url}/v1/admin/audit", timeout=20).json()
    assert [line["action"] for line in audit][:2] == ["feature-on", "feature-off"]


def test_an_unknown_feature_is_refused_by_name(operate: Operator) -> None:
    done = operate("switch", "off", "gravity", "--reason", "drill")
    assert done.returncode != 0 and "Traceback" not in done.stderr
