"""The pages that pairs belong to."""

from datetime import UTC, datetime

import pytest

from jeeves_curator.pair_homes import PairHomes
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.curation import CuratedDocument, MergedCopy
from jeeves_shared.contracts.documents import Document, Provenance


def curated(path: str, copies: tuple[str, ...] = ()) -> CuratedDocument:
    provenance = Provenance(
        url=f"https://example.org/{path}", retrieved_at=datetime(2026, 1, 1, tzinfo=UTC), licence="MIT", author="",
        sha256=content_hash(path),
    )  # fmt: skip
    document = Document(source_path=path, title="A page", kind="how-to", text="Some text.", provenance=provenance)
    merged = tuple(
        MergedCopy(source_path=copy, url="", licence="MIT", author="", reason="near-duplicate", similarity=0.9)
        for copy in copies
    )
    return CuratedDocument(document=document, copies=merged)


@pytest.fixture
def homes() -> PairHomes:
    return PairHomes(
        [
            curated("docs/agents/ssh.adoc", ("old/agents/ssh-launcher.adoc",)),
            curated("docs/agents/java.adoc"),
            curated("docs/index.adoc"),
            curated("blog/index.adoc"),
        ]
    )


@pytest.mark.parametrize(
    ("named", "home"),
    [
        ("docs/agents/ssh.adoc", "docs/agents/ssh.adoc"),
        ("old/agents/ssh-launcher.adoc", "docs/agents/ssh.adoc"),
        ("starter-pack/agents/java.adoc", "docs/agents/java.adoc"),
        ("agents/java.adoc", "docs/agents/java.adoc"),
        ("mirror/agents/ssh-launcher.adoc", "docs/agents/ssh.adoc"),
    ],
)
def test_a_page_is_found(homes: PairHomes, named: str, home: str) -> None:
    assert homes.of(named) == home


@pytest.mark.parametrize("named", ["handbook/index.adoc", "docs/agents/windows.adoc", "java.adoc"])
def test_what_may_be_another_page_is_left_as_it_is(homes: PairHomes, named: str) -> None:
    assert homes.of(named) == named
