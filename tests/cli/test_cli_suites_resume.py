"""A suite that is cut short leaves a report, and is resumed from it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jeeves_cli.exits import CommandError
from jeeves_cli.suites.cases import read_suites
from jeeves_cli.suites.running import NOT_ASKED, answered_rows
from jeeves_shared.contracts.suites import SuiteReport

COMMAND = Path(sys.executable).with_name("jeeves")
CASES = 12


class SlowGateway(BaseHTTPRequestHandler):
    """Refuses each question after a while."""

    def do_POST(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        server.asked += 1
        time.sleep(0.05)
        data = json.dumps({"choices": [{"message": {"content": "I could not find this in the sources."}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def gateway() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), SlowGateway)
    server.asked = 0
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_suite_that_was_cut_short_is_resumed(gateway: Any, tmp_path: Path) -> None:
    suite, out = tmp_path / "many.jsonl", tmp_path / "report.json"
    case = {"category": "unrelated", "question": "How is the weather?", "must_not": ["sunny"]}
    suite.write_text("".join(f"{json.dumps({**case, 'id': number})}\n" for number in range(CASES)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JEEVES_")}
    environment["JEEVES_GATEWAY_URL"] = f"http://127.0.0.1:{gateway.server_port}"
    options = [str(COMMAND), "evaluate", "--suite", str(suite), "--out", str(out), "--json"]
    command = subprocess.Popen(options, env=environment, stdout=subprocess.PIPE, text=True)
    while gateway.asked < 4:
        time.sleep(0.01)
    command.send_signal(signal.SIGTERM)
    printed, _ = command.communicate(timeout=60)
    cut = SuiteReport.model_validate_json(out.read_bytes())
    answered = [row for row in cut.rows if not row.error]
    assert command.returncode == 130 and SuiteReport.model_validate_json(printed) == cut
    assert 1 <= len(answered) < CASES and {row.error for row in cut.rows if row.error} == {NOT_ASKED}

    before = gateway.asked
    done = subprocess.run([*options, "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert gateway.asked - before == CASES - len(answered)
    whole = SuiteReport.model_validate_json(out.read_bytes())
    assert [row.id for row in whole.rows] == [str(number) for number in range(CASES)]
    assert [row for row in whole.rows if row in answered] == answered and whole.groups[0].errors == 0
    assert f"{len(answered)} case(s) were answered before and not asked again" in whole.notes

    suite.write_text(suite.read_text() + "\n")
    with pytest.raises(CommandError, match="without --resume"):
        answered_rows(whole, read_suites([suite]))
    nameless = subprocess.run([*options[:4], "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert nameless.returncode == 2 and "--out" in nameless.stderr
