"""`jeeves search` as a process, on a real index in a store of its own."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.manifests import IndexManifest
from jeeves_shared.search import Section, build_index
from jeeves_shared.search.embedding import EMBEDDER

Jeeves = Callable[..., Any]
FIELDS = {"rank", "score", "source_path", "url", "title", "section", "text", "why"}
TEXTS = [
    ("creds.md", "Credentials", "Using withCredentials", "Bind a secret with `withCredentials` and use single quotes."),
    ("creds.md", "Credentials", "Masking", "Jenkins hides the value of a bound secret in the console log."),
    ("agents.md", "Agents", "Labels", "A label names a group of agents."),
    ("zh.md", "流水线", "凭据", "使用 withCredentials 绑定凭据，控制台日志会隐藏密码。"),
]


def add_index(data_dir: Path, name: str, created_at: datetime, texts: list[tuple[str, str, str, str]]) -> None:
    store = ArtifactStore(str(data_dir / "store"))
    file = data_dir / f"{name}.sqlite"
    sections = [
        Section(
            Passage(
                section_id=f"s{n}",
                source_path=f"src/{path}",
                url=f"https://example.org/{path}",
                title=title,
                section=section,
                text=text,
                licence="MIT",
            ),
            (title, section),
        )
        for n, (path, title, section, text) in enumerate(texts)
    ]
    build_index(sections, file)
    store.put_manifest(
        IndexManifest(
            id=name,
            collections=("collection-x",),
            artifact=store.put_file(file, "index.sqlite"),
            documents=3,
            sections=len(sections),
            embedder=EMBEDDER,
            created_at=created_at,
        )
    )


@pytest.fixture(scope="module")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    now = datetime.now(UTC)
    add_index(folder, "index-new", now, TEXTS)
    add_index(folder, "index-old", now - timedelta(days=1), TEXTS[2:3])
    return folder


def test_hits_come_with_scores_and_why(jeeves: Jeeves, searchable: Path) -> None:
    done = jeeves("search", "How do I bind a secret?", JEEVES_DATA_DIR=str(searchable))
    assert done.returncode == 0, done.stderr
    assert "Credentials › Using withCredentials" in done.stdout
    assert "similarity" in done.stdout
    assert "index-new" in done.stdout


def test_json_names_every_field_and_one_hit_a_document(jeeves: Jeeves, searchable: Path) -> None:
    done = jeeves("search", "How do I bind a secret?", "--json", JEEVES_DATA_DIR=str(searchable))
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]
    assert all(set(hit) == FIELDS for hit in hits)
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    paths = [hit["source_path"] for hit in hits]
    assert paths[0] == "src/creds.md"
    assert len(paths) == len(set(paths))
    more = jeeves("search", "How do I bind a secret?", "--json", "--per-page", "0", JEEVES_DATA_DIR=str(searchable))
    assert [hit["source_path"] for hit in json.loads(more.stdout)["hits"]].count("src/creds.md") == 2


def test_a_batch_gives_one_line_a_question_in_order(jeeves: Jeeves, searchable: Path, tmp_path: Path) -> None:
    batch = tmp_path / "questions.jsonl"
    batch.write_text(
        '{"id": "b", "question": "如何绑定凭据"}\n\n{"id": 7, "question": "???"}\n{"id": "a", "question": "label"}\n'
    )
    done = jeeves("search", "--batch", str(batch), "--top", "1", JEEVES_DATA_DIR=str(searchable))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == ["b", "7", "a"]
    assert [len(row["hits"]) for row in rows] == [1, 0, 1]
    assert rows[0]["hits"][0]["source_path"] == "src/zh.md"
    assert rows[2]["hits"][0]["source_path"] == "src/agents.md"


def test_an_older_index_can_be_named(jeeves: Jeeves, searchable: Path) -> None:
    done = jeeves("search", "label", "--json", "--index", "index-old", JEEVES_DATA_DIR=str(searchable))
    assert json.loads(done.stdout)["index_id"] == "index-old"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("search",), 2, "either a question or --batch"),
        (("search", "x", "--batch", "y.jsonl"), 2, "either a question or --batch"),
        (("search", "x", "--index", "index-none"), 1, "No index index-none"),
        (("search", "x", "--top", "0"), 2, "--help"),
    ],
)
def test_mistakes_are_named(
    jeeves: Jeeves, searchable: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = jeeves(*arguments, JEEVES_DATA_DIR=str(searchable))
    assert done.returncode == code
    assert message in done.stderr


def test_without_an_index_it_says_how_to_get_one(jeeves: Jeeves, tmp_path: Path) -> None:
    done = jeeves("search", "x", JEEVES_DATA_DIR=str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert "jeeves index" in done.stderr


def test_a_damaged_index_is_refused(jeeves: Jeeves, searchable: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(searchable, damaged)
    for file in (damaged / "store" / "blobs").rglob("index.sqlite"):
        file.write_bytes(file.read_bytes()[:-100] + b"x" * 100)
    done = jeeves("search", "x", JEEVES_DATA_DIR=str(damaged))
    assert done.returncode == 1
    assert "does not match its sha256" in done.stderr
