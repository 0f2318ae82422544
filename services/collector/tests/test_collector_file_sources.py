"""Sources that are files: questions in every form, feedback, Stack Exchange files, archives and bundles."""

import csv
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jeeves_shared.contracts.collections import CollectionReport
from jeeves_shared.contracts.feedback import FEEDBACK_TAG
from jeeves_shared.errors import SourceUnusable

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from remotes import write_feedback, write_posts

BODY = "\n\nA text that is long enough to be kept as a document.\n"
ROWS = [("How do I stop a build?", "Press\n\n```groovy\nabort()\n```"), ("What is an agent?", "A machine.")]


def report(collector: Any) -> CollectionReport:
    path = collector.data_dir / "collector" / "reports" / f"{collector.last_job}.json"
    return CollectionReport.model_validate_json(path.read_bytes())


def write(path: Path, form: str) -> dict[str, Any]:
    """The same two questions in one of the forms; the source that reads it."""
    columns = {"question": "Q", "answer": "A"}
    if form == "csv":
        path = path / "q.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("Q", "A"), *ROWS])
    elif form == "xlsx":
        path = path / "q.xlsx"
        book = openpyxl.Workbook()
        for row in [("Q", "A"), *ROWS]:
            book.active.append(row)
        book.save(path)
        book.close()
    elif form == "parquet":
        path = path / "q.parquet"
        pq.write_table(pa.table({"Q": [q for q, _ in ROWS], "A": [a for _, a in ROWS]}), path)
    else:
        path = path / f"q.{'json' if form == 'json' else 'jsonl'}"
        records: list[dict[str, Any]] = {
            "jsonl": [{"Q": q, "A": a} for q, a in ROWS],
            "json": [{"Q": q, "A": a} for q, a in ROWS],
            "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in ROWS],
            "sharegpt": [
                {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in ROWS
            ],
            "messages": [
                {
                    "messages": [
                        {"role": "system", "content": "s"},
                        {"role": "user", "content": q},
                        {"role": "assistant", "content": a},
                    ]
                }
                for q, a in ROWS
            ],
        }[form]
        text = json.dumps(records) if form == "json" else "".join(json.dumps(record) + "\n" for record in records)
        path.write_text(text)
    return {"type": "questions", "name": "q", "location": str(path), "columns": columns}


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "xlsx", "parquet", "alpaca", "sharegpt", "messages"])
def test_questions_of_every_form(form: str, tmp_path: Path, collector: Any) -> None:
    source = write(tmp_path, form)
    manifest = collector.collect(source)
    assert (manifest.documents, manifest.pairs, manifest.code_blocks, manifest.drops) == (2, 2, 1, {})
    documents = list(collector.documents(manifest).values())
    assert [(one.title, one.answers[0].text) for one in documents] == ROWS
    assert {pair.source_path for pair in collector.pairs(manifest).values()} == {one.source_path for one in documents}
    assert collector.collect(source) == manifest
    assert report(collector).sources[0].unchanged_items == 1


def test_the_four_columns(tmp_path: Path, collector: Any) -> None:
    path = tmp_path / "f.csv"
    path.write_text("title,question,reply,is_best\nT,Why?,No.,0\nT,Why?,Because.,1\nU,How?,So.,\n,,x,1\nV,W?,,1\n")
    manifest = collector.collect({"type": "questions", "name": "q", "location": str(path)})
    first = collector.documents(manifest)["q/f.csv/1"]
    assert [(answer.text, answer.accepted) for answer in first.answers] == [("No.", False), ("Because.", True)]
    assert first.text == "# T\n\nWhy?\n\n## Answer 1 (accepted, score 0)\n\nBecause.\n\n## Answer 2 (score 0)\n\nNo.\n"
    assert collector.pairs(manifest)["q-f.csv-1"].answer == "Because."
    assert manifest.drops == {"question-invalid": 2}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", b"", "is empty"),
        ("q.csv", b"a,b\n1,2\n", "no question with an answer"),
        ("q.json", b"{", "not JSON"),
        ("q.jsonl", b"\0", "not a text file"),
        ("q.xlsx", b"no", "no workbook"),
        ("q.parquet", b"no", "no Parquet"),
        ("q.txt", b"x", "is none of"),
    ],
)
def test_unusable_files_of_questions(name: str, content: bytes, message: str, tmp_path: Path, collector: Any) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceUnusable, match=message):
        collector.collect({"type": "questions", "name": "q", "location": str(tmp_path / name)})


def test_feedback_that_was_reviewed(tmp_path: Path, collector: Any) -> None:
    path = tmp_path / "f.jsonl"
    write_feedback(path, 4)
    good = path.read_text()
    row = json.loads(good.splitlines()[0])
    bad = [
        {**row, "id": "x1", "reviewed_by": ""},
        {**row, "id": "x2", "rating": "down", "corrected_answer": " "},
        {**row, "id": "x3", "rating": "maybe"},
        ["no object"],
    ]
    path.write_text(
        good + "".join(json.dumps(one) + "\n" for one in bad) + json.dumps({**row, "later_field": 1}) + "\n{\n"
    )
    manifest = collector.collect({"type": "feedback", "name": "fb", "location": str(path)})
    pairs = collector.pairs(manifest)
    assert sorted(pairs) == ["fb-f0", "fb-f1", "fb-f2", "fb-f3"]
    assert manifest.documents == 4
    assert {pair.source_path for pair in pairs.values()} == set(collector.documents(manifest))
    assert (pairs["fb-f0"].answer, pairs["fb-f1"].answer) == ("Not because of 0.", "Because 1.")
    corrected, praised = (collector.documents(manifest)[f"fb/f{number}"] for number in (0, 1))
    assert [(one.accepted, one.score) for one in corrected.answers] == [(True, 0), (False, -1)]
    assert corrected.tags == (FEEDBACK_TAG,)
    # What was replaced stands beside the text: it is never found.
    assert corrected.answers[1].text == row["answer"]
    assert row["answer"] not in corrected.text
    assert len(praised.answers) == 1
    assert manifest.drops == {"feedback-invalid": 3, "feedback-not-reviewed": 1, "feedback-without-answer": 1}


def test_open_questions_are_documents_without_pairs(tmp_path: Path, collector: Any) -> None:
    path = tmp_path / "open.jsonl"
    path.write_text("".join(json.dumps({"title": f"Why {n}?", "body": f"It does {n}."}) + "\n" for n in range(2)))
    columns = {"question": "body", "answer": ""}
    manifest = collector.collect({"type": "questions", "name": "q", "location": str(path), "columns": columns})
    assert collector.pairs(manifest) == {}
    documents = collector.documents(manifest).values()
    assert [(one.kind, one.question, one.answers) for one in documents] == [
        ("question", "It does 0.", ()),
        ("question", "It does 1.", ()),
    ]


def test_a_dump_of_posts(tmp_path: Path, collector: Any) -> None:
    path = tmp_path / "Posts.xml"
    write_posts(path, 40)
    source = {"type": "stackexchange-file", "name": "so", "location": str(path), "tags": ["Jenkins"], "score_min": 1}
    manifest = collector.collect(source)
    documents = collector.documents(manifest)
    assert manifest.documents == 9
    assert manifest.drops == {"not-wanted": 1}
    one = documents["so/10"]
    assert "```\nnode {\n  echo '4 <x> && y'\n}\n```" in one.text
    assert [(a.accepted, a.author, a.licence) for a in one.answers] == [
        (False, "Someone", "CC-BY-SA-2.5"),
        (True, "Someone", "CC-BY-SA-2.5"),
    ]
    assert (one.title, one.provenance.url) == ("Question 4 & more", "https://stackoverflow.com/q/10")
    assert (one.provenance.licence, one.provenance.route) == ("CC-BY-SA-4.0", "dump")
    assert collector.collect(source) == manifest
    assert report(collector).sources[0].fetched_items == 0
    text = path.read_text()
    path.write_text(text.replace("Answer 11&", "Answer eleven&"))
    collector.collect(source)
    assert (report(collector).diff.changed, report(collector).diff.removed) == (1, 0)
    path.write_text(text[: len(text) // 2])
    damaged = collector.collect(source)
    assert damaged.drops["entry-invalid"] == 1
    assert 0 < damaged.documents < 9


def test_the_table_of_a_query(tmp_path: Path, collector: Any) -> None:
    path = tmp_path / "QueryResults.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerow(
            ["Id", "PostTypeId", "Parent Id", "AcceptedAnswerId", "Title", "Body", "Tags", "Score", "CreationDate"]
        )
        rows.writerow(["1", "1", "", "2", "T", "<p>Why?</p>", "<jenkins>", "3", "2016-05-06 07:08:09"])
        rows.writerow(["2", "2", "1", "", "", "<p>So.</p>", "", "1", "2016-05-07 07:08:09"])
        rows.writerow(["x", "1", "", "", "T", "b", "<jenkins>", "no", "never"])
    manifest = collector.collect({"type": "stackexchange-file", "name": "so", "location": str(path)})
    document = collector.documents(manifest)["so/1"]
    assert (document.answers[0].accepted, document.provenance.route) == (True, "data-explorer")
    assert document.provenance.licence == "CC-BY-SA-3.0"


def packed(root: Path, kind: str, target: Path) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in root.rglob("*.*"):
                archive.write(path, path.relative_to(root))
    elif kind == "tar.xz":
        with tarfile.open(target, "w:xz") as archive_file:
            archive_file.add(root, ".")
            link = tarfile.TarInfo("evil.adoc")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive_file.addfile(link, io.BytesIO())
    else:
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"],
            ["bundle", "create", "-q", str(target), "HEAD", "main"],
        ):
            subprocess.run(["git", *command], cwd=root, check=True)
    return target


@pytest.mark.parametrize("kind", ["zip", "tar.xz", "bundle"])
def test_a_tree_in_one_file(kind: str, write_tree: Any, tmp_path: Path, collector: Any) -> None:
    root = write_tree({"docs/a.md": f"# A{BODY}", "docs/b.md": f"# B{BODY}"})
    target = packed(root, kind, tmp_path / f"tree.{kind}")
    source = {"type": "tree", "name": "t", "location": str(target)}
    manifest = collector.collect(source)
    assert list(collector.documents(manifest)) == ["t/docs/a.md", "t/docs/b.md"]
    assert manifest.drops == ({"archive-link": 1} if kind == "tar.xz" else {})
    assert collector.collect(source) == manifest
    assert report(collector).sources[0].fetched_items == 0


def test_a_diff_names_what_changed(write_tree: Any, collector: Any) -> None:
    root = write_tree({f"{name}.md": f"# {name}{BODY}" for name in "abc"})
    source = {"type": "tree", "name": "t", "location": str(root)}
    collector.collect(source)
    assert report(collector).diff.added == 3
    write_tree({"a.md": f"# changed{BODY}", "d.md": f"# d{BODY}"})
    (root / "b.md").unlink()
    collector.collect(source)
    diff = report(collector).diff
    assert diff.names == {"added": ("t/d.md",), "changed": ("t/a.md",), "removed": ("t/b.md",)}
    assert "1 added, 1 changed, 1 removed" in collector.log()
