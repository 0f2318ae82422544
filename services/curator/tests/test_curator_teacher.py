"""The teacher over real HTTP: what is asked, what is believed, and that the job goes on without it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from jeeves_curator.teacher import jenkinsfile_defect
from jeeves_shared.contracts.curation import TeacherSettings
from jeeves_shared.contracts.documents import TrainingSample

Bench = Any


class FakeTeacher(ThreadingHTTPServer):
    """Speaks the protocol: one true pair from the section, one that leans on it, one that it does not support."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Answer(BaseHTTPRequestHandler):
    server: FakeTeacher

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        section = body["messages"][1]["content"]
        line = next((line for line in section.splitlines() if line.startswith("Set `")), "")
        pairs = [
            {"question": f"Where is {line.split('`')[1]} set, and what then?", "answer": line},
            {"question": "What does this tutorial show about the menu?", "answer": line},
            {"question": "Which soup goes with the summer menu of cooks?", "answer": "Tomatoes, basil and olive oil."},
        ] if line else []  # fmt: skip
        reply = "Here you are:\n```json\n" + json.dumps({"pairs": pairs}) + "\n```"
        data = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def teacher() -> Iterator[FakeTeacher]:
    server = FakeTeacher()
    yield server
    server.shutdown()
    server.server_close()


def settings(url: str) -> TeacherSettings:
    return TeacherSettings(url=url, model="any", pairs_per_section=3)


def test_what_the_teacher_says_goes_through_the_steps(bench: Bench, teacher: FakeTeacher) -> None:
    documents, pairs = bench.library()
    collection = bench.collection(documents, pairs)
    manifest = bench.dataset(collection, teacher=settings(teacher.url))
    assert manifest.drops["context-bound"] == 32
    # The same soup is asked for 32 times: once is unsupported, the others are copies.
    assert manifest.drops["unsupported"] >= 1
    rows = [TrainingSample.model_validate_json(line) for line in bench.store.read_bytes(manifest.train).splitlines()]
    taught = [row for row in rows if row.pair.id.startswith("teacher-")]
    assert taught
    assert all("Set `" in row.pair.answer for row in taught if row.answerable)
    assert teacher.asked[0]["temperature"] == 0
    again = bench.dataset(collection, teacher=settings(teacher.url))
    assert again == manifest


def test_a_resumed_job_asks_nothing_twice(bench: Bench, teacher: FakeTeacher) -> None:
    from jeeves_curator import datasets  # noqa: PLC0415

    request = bench.request(bench.collection(*bench.library()), teacher=settings(teacher.url))
    first = datasets.run(bench.context("taught"), request)
    asked = len(teacher.asked)
    assert asked == 32
    folder = bench.folder / "work" / "taught" / first.id
    (folder / "pairs.json").unlink()
    for path in (bench.folder / "store" / "manifests" / "dataset").iterdir():
        path.unlink()
    assert datasets.run(bench.context("taught"), request).train == first.train
    assert len(teacher.asked) == asked


def test_without_an_answer_the_job_goes_on(bench: Bench) -> None:
    documents, pairs = bench.library()
    manifest = bench.dataset(bench.collection(documents, pairs), teacher=settings("http://127.0.0.1:9/v1"))
    assert manifest.pairs_kept == 69


@pytest.mark.parametrize(
    ("code", "defect"),
    [
        ("pipeline {\n agent any\n stages { stage('a') { steps { echo '}' } } }\n}", ""),
        ("pipeline {\n agent any\n stages { stage('a') { steps { echo 'x' } }\n}", "unbalanced"),
        ("pipeline {\n stages { stage('a') { steps { echo 'x' } } }\n}", "no-agent"),
        ("pipeline {\n agent any\n stage('a') { steps { echo 'x' } }\n}", "no-stages"),
        ("node { sh '''echo { ''' }", ""),
    ],
)
def test_code_is_looked_at(code: str, defect: str) -> None:
    assert jenkinsfile_defect(code) == defect
