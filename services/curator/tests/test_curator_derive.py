from datetime import UTC, datetime

import pytest

from jeeves_curator.derive import derive_pairs
from jeeves_curator.sections import split_document
from jeeves_shared.contracts.documents import Document, Pair, Provenance

WHENCE = Provenance(
    url="https://example.org", retrieved_at=datetime(2026, 1, 1, tzinfo=UTC), licence="MIT", author="", sha256="0" * 64
)
TEXT = "Open the settings and enable it there."


def derive(text: str, title: str = "Page", path: str = "src/a.md", limit: int = 100) -> list[Pair]:
    document = Document(source_path=path, title=title, text=text, provenance=WHENCE)
    return derive_pairs([(document, split_document(document, 900, 0))], limit, 17)


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Install the Docker plugin", "How do I install the Docker plugin?"),
        ("Installing Helm", "How do I install Helm?"),
        ("Running a build on an agent", "How do I run a build on an agent?"),
        ("Step 2: Create your first Pipeline", "How do I create my first Pipeline?"),
        ("How can I restart a stage?", "How can I restart a stage?"),
        ("Build a Java app", "How do I build a Java app?"),
    ],
)
def test_headings_that_ask(heading: str, question: str) -> None:
    assert [pair.question for pair in derive(f"## {heading}\n\n{TEXT}")] == [question]


@pytest.mark.parametrize("heading", ["Build steps", "Use of agents", "Overview", "Testing", "Release notes"])
def test_headings_that_ask_nothing(heading: str) -> None:
    assert derive(f"## {heading}\n\n{TEXT}") == []


def test_a_definition_becomes_what_is() -> None:
    pairs = derive("## Executor\n\nAn **executor** is a slot for the execution of work on a node.")
    assert [(pair.kind, pair.question) for pair in pairs] == [("concept", "What is Executor?")]
    assert derive("## Executor\n\nA node is a machine which is part of the environment.") == []


def test_the_answer_is_the_first_paragraph_and_the_first_code_block() -> None:
    text = f"## Create a job\n\n{TEXT}\n\nMore words.\n\n```groovy\npipeline {{\n\n}}\n```\n\n```sh\nls\n```"
    (pair,) = derive(text)
    assert pair.answer == f"{TEXT}\n\n```groovy\npipeline {{\n\n}}\n```"
    assert pair.section == "Create a job"


def test_a_paragraph_that_announces_code_is_no_answer_without_it() -> None:
    assert derive("## Create a job\n\nDo the following:\n\n- one\n- two") == []
    assert len(derive("## Create a job\n\nRun this:\n\n```\nls\n```")) == 1


def test_documentation_goes_before_the_rest_and_the_limit_holds() -> None:
    documents = [
        Document(source_path=path, title="T", text=f"## Install {name}\n\n{TEXT}", provenance=WHENCE)
        for path, name in (("src/blog/a.md", "blogware"), ("src/user/b.md", "userware"))
    ]
    both = [(document, split_document(document, 900, 0)) for document in documents]
    assert len(derive_pairs(both, 10, 17)) == 2
    assert [pair.source_path for pair in derive_pairs(both, 1, 17)] == ["src/user/b.md"]
    assert derive_pairs(both, 0, 17) == []
