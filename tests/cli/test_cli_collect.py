"""`jeeves collect --explain` against the real collector."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

COMMAND = Path(sys.executable).with_name("jeeves")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
    port = free_port()
    environment = {**kept, "JEEVES_DATA_DIR": str(tmp_path / "data"), "JEEVES_PORT": str(port), "COLUMNS": "160"}
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jeeves_collector"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
        yield {**environment, "JEEVES_COLLECTOR_URL": url}
    finally:
        process.terminate()
        process.wait(30)


def test_explain_says_what_was_left_out_and_what_changed(collector: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.adoc").write_text("= A\n\nA text with {nobody-set-me} that is long enough to be kept.\n")
    (folder / "empty.md").write_text("")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: mine\nsources:\n  - {{type: tree, name: mine, location: {folder}}}\n")

    def run(*options: str) -> str:
        command = [COMMAND, "collect", "--recipe", recipe, "--explain", *options]
        done = subprocess.run(command, env=collector, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run()
    assert "for the first time: 1 added, 0 changed, 0 removed" in first
    assert "left out, empty: 1" in first
    assert "mine/empty.md" in first
    assert "nobody-set-me (1)" in first
    (folder / "b.md").write_text("# B\n\nAnother text that is long enough to be kept.\n")
    report = json.loads(run("--json"))
    assert report["diff"]["names"] == {"added": ["mine/b.md"]}
    assert report["sources"][0]["documents"] == 2
