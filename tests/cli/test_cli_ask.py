"""Questions: for people, for machines, in batches, in a conversation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Jeeves = Callable[..., Any]
FIELDS = {"id", "question", "answer", "citations", "rung", "model", "response_id", "refused", "reasons"}


def test_answer_for_people_shows_the_sources(jeeves: Jeeves) -> None:
    done = jeeves("ask", "How do I bind a secret?")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "凭据: bind it. [1]\n[1] Using credentials › Handling secrets  https://x/y\n"


def test_answer_for_machines(jeeves: Jeeves) -> None:
    done = jeeves("ask", "How do I bind a secret?", "--json")
    answer = json.loads(done.stdout)
    assert set(answer) == FIELDS
    assert answer["citations"][0]["source_path"] == "starter-pack/credentials/x.adoc"
    assert (answer["rung"], answer["response_id"], answer["refused"]) == ("full", "response-1", False)
    assert json.loads(jeeves("ask", "How is the weather?", "--json").stdout)["refused"] is True


def test_refusal_of_the_gateway_is_its_own_words(jeeves: Jeeves) -> None:
    done = jeeves("ask", "overload", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Too many questions at once: try again." in done.stderr


def test_batch_is_one_line_each_in_order(jeeves: Jeeves, project: Path) -> None:
    questions = ["How do I bind a secret?", "A line\u2028separator inside", "How is the weather?"]
    lines = [json.dumps({"id": number, "question": text}, ensure_ascii=False) for number, text in enumerate(questions)]
    (project / "questions.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]) + "\n", encoding="utf-8")
    done = jeeves("ask", "--batch", "questions.jsonl")
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]
    assert [(answer["id"], answer["question"]) for answer in answers] == [
        (str(number), text) for number, text in enumerate(questions)
    ]
    assert all(set(answer) == FIELDS for answer in answers)


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 2}',
        "no json",
        '["id", "question"]',
        '{"id": 2, "question": null}',
        '{"id": 2, "question": "  "}',
        '{"question": "x"}',
    ],
)
def test_batch_names_the_line_at_fault_before_anything_is_asked(line: str, jeeves: Jeeves, project: Path) -> None:
    (project / "questions.jsonl").write_text(f'{{"id": 1, "question": "x"}}\n\n{line}\n')
    done = jeeves("ask", "--batch", "questions.jsonl")
    assert done.returncode == 2
    assert "questions.jsonl, line 3: needs a JSON object" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_batch_file_that_cannot_be_read(content: bytes | None, jeeves: Jeeves, project: Path) -> None:
    if content is not None:
        (project / "questions.jsonl").write_bytes(content)
    done = jeeves("ask", "--batch", "questions.jsonl")
    assert done.returncode == 2
    assert "questions.jsonl" in done.stderr
    assert "Traceback" not in done.stderr


def test_conversation(jeeves: Jeeves) -> None:
    done = jeeves("chat", stdin="How do I bind a secret?\nAnd then?\n\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[1] Using credentials › Handling secrets") == 2


def test_stream_that_breaks_is_an_error(jeeves: Jeeves) -> None:
    done = jeeves("chat", stdin="break\n")
    assert done.returncode == 1
    assert "The engine ended." in done.stderr


def test_rung_can_be_pinned_and_released(jeeves: Jeeves) -> None:
    pinned = jeeves("switch", "rung", "extractive", "--reason", "maintenance")
    assert pinned.returncode == 0, pinned.stderr
    body = json.loads(pinned.stdout)
    assert (body["rung"], body["reason"]) == ("extractive", "maintenance")
    assert body["until"].endswith("+00:00")
    released = jeeves("switch", "rung", "auto", "--reason", "done")
    assert released.returncode == 0, released.stderr
    assert json.loads(released.stdout) == {"rung": None}
