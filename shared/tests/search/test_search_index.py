"""The index file, built and read for real."""

import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.errors import SourceUnusable
from jeeves_shared.search import IndexUnusable, SearchIndex, Section, build_index

TEXTS = [
    ("creds.md", "Credentials", "Using withCredentials", "Bind a secret with `withCredentials` and use single quotes."),
    ("creds.md", "Credentials", "Masking", "Jenkins hides the value of a bound secret in the console log."),
    ("agents.md", "Agents", "Labels", "A label names a group of agents. Use it in the agent directive."),
    ("agents.md", "Agents", "Docker agents", "Run a stage in a container: agent { docker 'maven:3' }."),
    ("backup.md", "Backup", "What to save", "Copy JENKINS_HOME; leave out workspaces and caches."),
    ("zh.md", "流水线", "凭据", "使用 withCredentials 绑定凭据，控制台日志会隐藏密码。"),
    ("notes/agents.md", "Release notes", "Labels", "A label names a group of agents. Use it in the agent directive."),
]


def sections() -> list[Section]:
    return [
        Section(
            Passage(
                section_id=f"s{number}",
                source_path=f"src/{path}",
                url="https://example.org/" + path,
                title=title,
                section=section,
                text=text,
                licence="Apache-2.0",
            ),
            (title, section),
            0.0 if path.startswith("notes/") else 1.0,
        )
        for number, (path, title, section, text) in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.sqlite"
    build_index(sections(), path)
    return path


@pytest.fixture
def index(path: Path) -> SearchIndex:
    return SearchIndex.open(path)


@pytest.mark.parametrize(
    ("question", "source", "section"),
    [
        ("How do I bind a secret?", "src/creds.md", "Using withCredentials"),
        ("withCredentials single quotes", "src/creds.md", "Using withCredentials"),
        ("What is hidden in the console log?", "src/creds.md", "Masking"),
        ("which folder do I back up: JENKINS_HOME?", "src/backup.md", "What to save"),
        ("run in a container", "src/agents.md", "Docker agents"),
        ("如何绑定凭据", "src/zh.md", "凭据"),
        ("passwords concealed from the output", "src/creds.md", "Masking"),
    ],
)
def test_the_right_section_comes_first(index: SearchIndex, question: str, source: str, section: str) -> None:
    best = index.search(question, 3)[0]
    assert (best.passage.source_path, best.passage.section) == (source, section)


def test_figures_of_a_hit_are_in_their_ranges_and_order(index: SearchIndex) -> None:
    hits = index.search("How do I keep a bound secret out of the console log?", 5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert 0 <= hit.score <= 1
        assert 0 <= hit.lexical <= 1
        assert -1 <= hit.similarity <= 1
        assert 0 <= hit.coverage <= 1
    assert hits[0].coverage > hits[-1].coverage


def test_coverage_tells_a_known_question_from_a_foreign_one(index: SearchIndex) -> None:
    assert index.search("label names agents")[0].coverage == pytest.approx(1.0)
    assert max((hit.coverage for hit in index.search("grilled salmon wine")), default=0.0) == 0.0


def test_equal_texts_are_found_once_and_documentation_goes_before_notes(index: SearchIndex) -> None:
    found = [
        hit.passage.source_path for hit in index.search("label group of agents", 7) if hit.passage.section == "Labels"
    ]
    assert found == ["src/agents.md"]


def test_one_hit_a_document_names_every_page_with_the_text(index: SearchIndex) -> None:
    hits = index.search("label group of agents", 7, per_page=1)
    paths = [hit.passage.source_path for hit in hits]
    assert len(paths) == len(set(paths))
    assert paths.index("src/agents.md") < paths.index("src/notes/agents.md")


def test_a_page_whose_sections_share_the_question_goes_before_one_section_of_another(tmp_path: Path) -> None:
    base = sections()[0].passage
    texts = [
        ("one.md", "Queue", "An executor waits."),
        ("one.md", "Throttle", "A throttle holds the queue back."),
        ("two.md", "Colours", "An executor waits."),
        ("two.md", "Fonts", "Nothing else is said."),
    ]
    many = [
        Section(
            base.model_copy(
                update={"section_id": str(n), "source_path": path, "title": "Page", "section": name, "text": text}
            ),
            ("Page", name),
        )
        for n, (path, name, text) in enumerate(texts)
    ]
    build_index(many, tmp_path / "pages.sqlite")
    index = SearchIndex.open(tmp_path / "pages.sqlite")
    hits = {hit.passage.source_path: hit for hit in index.search("executor throttle", 4, per_page=1)}
    index.close()
    assert hits["one.md"].page == 1.0
    assert 0 < hits["two.md"].page < 1.0


def test_unknown_identifiers_are_those_that_occur_nowhere(index: SearchIndex) -> None:
    question = "Can `teardown` and withSecrets() replace `withCredentials` and JENKINS_HOME?"
    assert index.unknown_identifiers(question) == ["teardown", "withSecrets"]


@pytest.mark.parametrize(
    "question", ["", "?", "\x00", '"; DROP TABLE sections; --', "a" * 100_000, "词" * 5000, "* OR NEAR("]
)
def test_any_text_can_be_asked(index: SearchIndex, question: str) -> None:
    assert len(index.search(question, 3)) <= 3


def test_sections_of_a_document_come_back_in_order(index: SearchIndex) -> None:
    assert index.sections == len(TEXTS)
    assert index.sections_of("src/creds.md") == sections()[:2]
    assert index.sections_of("nowhere") == []


def test_many_threads_get_the_same_answer_as_one(index: SearchIndex) -> None:
    questions = ["bind a secret", "docker container", "back up", "绑定凭据"] * 25
    alone = [index.search(question, 3) for question in questions]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda question: index.search(question, 3), questions)) == alone


def test_the_same_sections_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.sqlite"
    build_index(sections(), again)
    assert again.read_bytes() == path.read_bytes()
    changed = tmp_path / "changed.sqlite"
    build_index(sections()[1:], changed)
    assert changed.read_bytes() != path.read_bytes()


def test_an_index_of_nothing_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceUnusable):
        build_index([], tmp_path / "index.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(sections(), tmp_path / "index.sqlite", stop)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_index_are_refused_with_a_remedy(path: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexUnusable, match="build one"):
        SearchIndex.open(tmp_path / "missing.sqlite")
    (tmp_path / "text.sqlite").write_text("no database " * 1000)
    with pytest.raises(IndexUnusable, match="build it again"):
        SearchIndex.open(tmp_path / "text.sqlite")
    cut = tmp_path / "cut.sqlite"
    cut.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(IndexUnusable, match="build it again"):
        SearchIndex.open(cut)


@pytest.mark.parametrize("key", ["schema_version", "embedder"])
def test_an_index_of_other_rules_is_refused(path: Path, tmp_path: Path, key: str) -> None:
    other = tmp_path / "other.sqlite"
    shutil.copy(path, other)
    with sqlite3.connect(other) as database:
        database.execute("UPDATE meta SET value = 'other' WHERE key = ?", (key,))
    database.close()
    with pytest.raises(IndexUnusable, match=f"{key} other, not"):
        SearchIndex.open(other)


def test_a_reader_needs_neither_network_nor_torch_and_stays_small(path: Path) -> None:
    program = f"""
import socket, sys
def refuse(*args): raise AssertionError("network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from pathlib import Path
from jeeves_shared.search import SearchIndex
index = SearchIndex.open(Path({str(path)!r}))
assert index.search("bind a secret")
index.close()
assert not {{"torch", "transformers", "wordllama", "requests"}} & set(sys.modules)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 160, "MiB"


def test_a_cut_section_is_put_together_again(tmp_path: Path) -> None:
    parts = ["Before you begin:", "First part.", "Second part.", "Third part."]
    rows = [("guide.md", "Guide", "Install", text) for text in parts] + [
        ("guide.md", "Guide", "Remove", "Take it off.")
    ]
    made = [
        Section(
            Passage(
                section_id=f"p{number}",
                source_path=path,
                url="",
                title=title,
                section=section,
                text=text,
                licence="MIT",
            ),
            (title, section),
            1.0,
        )
        for number, (path, title, section, text) in enumerate(rows)
    ]
    build_index(made, tmp_path / "index.sqlite")
    index = SearchIndex.open(tmp_path / "index.sqlite")
    hit = made[1].passage
    assert index.whole_section(hit, 1000).text == "\n\n".join(parts)
    assert index.whole_section(hit, 30).text == "First part.\n\nSecond part.", "what follows comes first"
    assert index.whole_section(hit, 5) == hit
    assert index.whole_section(made[4].passage, 1000) == made[4].passage
    assert index.whole_section(hit.model_copy(update={"section_id": "given:1"}), 1000).text == hit.text
    index.close()
