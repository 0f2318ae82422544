"""Each simulator with its server and the source that reads it, and each kind of file with what is in it."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from controller import controller
from discourse import forum
from server import SimulatorServer
from stackexchange import site
from update_centre import UpdateCentre

_FAST = {"requests_per_second": 50, "allow_private": True}


@dataclass
class Remote:
    """A simulator, its server, and the source that reads it."""

    simulator: Any
    server: SimulatorServer
    source: dict[str, Any]
    item_path: str

    def items(self) -> int:
        """Requests for single things of the source, not for lists."""
        return sum(self.server.counts(self.item_path).values())


_MAKE: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "discourse": (forum, {"type": "discourse", "address": ""}, "/t/"),
    "stackexchange-api": (
        site,
        {"type": "stackexchange-api", "address": "/2.3", "tags": ["jenkins"], "page_size": 10},
        "/2.3/questions",
    ),
    "plugins": (
        UpdateCentre,
        {"type": "plugins", "address": "/update-center.json", "documentation_address": "/api/plugin/"},
        "/api/plugin/",
    ),
    "jenkins": (controller, {"type": "jenkins", "address": ""}, "/job/"),
}
REMOTE_KINDS = sorted(_MAKE)


@contextmanager
def running(kind: str, credentials: Path) -> Iterator[Remote]:
    """Start the simulator of a kind of source; `credentials` gets what it asks for."""
    make, fields, item_path = _MAKE[kind]
    simulator = make()
    with SimulatorServer(simulator.respond, compress=kind == "stackexchange-api") as server:
        source = {"name": "remote", **_FAST, **fields, "address": f"{server.address}{fields['address']}"}
        if "documentation_address" in fields:
            source["documentation_address"] = f"{server.address}{fields['documentation_address']}"
        login = server.address.replace("://", "://reader:t0ken@") if kind == "jenkins" else ""
        credentials.write_text(f"{login}\n")
        yield Remote(simulator, server, source, item_path)


def write_posts(path: Path, questions: int, *, others: int = 3, body_characters: int = 400) -> None:
    """A `Posts.xml` in which one question of `others + 1` is about Jenkins, each with two answers."""
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        number = 0
        for question in range(1, questions + 1):
            number += 1
            asked = number
            tags = "&lt;jenkins&gt;&lt;groovy&gt;" if question % (others + 1) == 0 else "&lt;python&gt;"
            code = f"node {{\n  echo '{question} &lt;x&gt; &amp;&amp; y'\n}}"
            body = quoteattr(
                f"<p>Q {question}</p><pre><code>{code}</code></pre>{'<p>filler text</p>' * (body_characters // 18)}"
            )
            file.write(
                f'  <row Id="{asked}" PostTypeId="1" AcceptedAnswerId="{asked + 2}" CreationDate="2019-01-01T00:00:00.000" '
                f'Score="{question % 9}" Body={body} OwnerUserId="{question % 50}" Title="Question {question} &amp; more" '
                f'Tags="{tags}" LastActivityDate="2020-01-01T00:00:00.000" ContentLicense="CC BY-SA 4.0" />\n'
            )
            for _ in range(2):
                number += 1
                file.write(
                    f'  <row Id="{number}" PostTypeId="2" ParentId="{asked}" CreationDate="2010-01-01T00:00:00.000" '
                    f'Score="1" Body="&lt;p&gt;Answer {number}&lt;/p&gt;" OwnerDisplayName="Someone" />\n'
                )
        file.write("</posts>\n")


def write_questions(folder: Path, files: int, rows: int) -> None:
    """Files of questions in three forms."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        names = [(f"What is {number}-{row}?", f"It is\n\n    {row}") for row in range(rows)]
        if number % 3 == 0:
            with (folder / f"q{number:03d}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("question", "answer"), *names])
            continue
        records: list[dict[str, Any]] = (
            [{"instruction": question, "input": "", "output": answer} for question, answer in names]
            if number % 3 == 1
            else [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in names]
        )
        (folder / f"q{number:03d}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_feedback(path: Path, items: int) -> None:
    """An export of feedback, all of it released."""
    rows = [
        {
            "id": f"f{number}", "question": f"Why {number}?", "answer": f"Because {number}.",
            "corrected_answer": "" if number % 2 else f"Not because of {number}.", "rating": "up" if number % 2 else "down",
            "reason": "", "reviewed_by": "reviewer", "response_id": f"r{number}",
        }
        for number in range(items)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
