"""The real handbook and the pairs that a model wrote from it: what is found, and what is dropped; see docs."""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jeeves_curator.sections import split_document
from jeeves_curator.steps import (
    AnswerLength,
    ContextBound,
    Drop,
    Duplicates,
    Normalize,
    RedactPair,
    SameQuestion,
    Suspicious,
    Trivial,
    review_pairs,
)
from jeeves_shared.contracts.documents import Document, Pair, Provenance
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.search import SearchIndex, build_index

FILE_BYTES_MAX = 400_000
WHENCE = Provenance(url="", retrieved_at=datetime(2026, 1, 1, tzinfo=UTC), licence="", author="", sha256="0" * 64)


def markdown(asciidoc: str) -> str:
    """Headings and code blocks of AsciiDoc as Markdown: enough to search in, and free of the collector."""
    lines, fence = [], ""
    for line in asciidoc.splitlines():
        bare = line.strip()
        heading = re.match(r"(=+)\s+(.*)", line)
        if fence:
            lines.append("```" if bare == fence else line)
            fence = "" if bare == fence else fence
        elif re.fullmatch(r"-{4,}|\.{4,}", bare):
            fence = bare
            lines.append("```")
        elif heading:
            lines.append(f"{'#' * len(heading.group(1))} {heading.group(2)}")
        elif not re.match(r":[\w!-]+:|//|(?:include|image|ifdef|endif)::|\[", line):
            lines.append(re.sub(r"(?:xref:|link:|https?://)[^\s\[\]]*\[([^\]]*)\]", r"\1", line))
    return "\n".join(lines)


def documents(folder: Path) -> Iterator[Document]:
    for path in sorted(folder.rglob("*.adoc")):
        relative = path.relative_to(folder.parent).as_posix()
        if path.name == "nav.adoc" or "/_partials/" in relative or path.stat().st_size > FILE_BYTES_MAX:
            continue
        text = markdown(path.read_text(encoding="utf-8", errors="replace"))
        title = re.search(r"^# (.*)$", text, re.MULTILINE)
        name = title.group(1) if title else path.stem.replace("-", " ")
        yield Document(source_path=relative, title=name, text=text, provenance=WHENCE)


@pytest.mark.corpora
def test_what_the_410_pairs_of_a_model_got(corpora: Path) -> None:
    with (corpora / "jenai" / "derived_dev_split.csv").open(encoding="utf-8", newline="") as file:
        pairs = [
            Pair(
                id=row["id"],
                kind="concept",
                question=row["question"],
                answer=row["answer"],
                source_path=row["source_path"],
            )
            for row in csv.DictReader(file)
        ]
    recipe = CurateRecipe(name="default")
    review = review_pairs(
        pairs,
        (
            Suspicious(),
            Normalize(),
            RedactPair(),
            AnswerLength(recipe.answer_characters_max),
            ContextBound(),
            Trivial(),
            Duplicates(recipe.near_duplicate_similarity),
            SameQuestion(recipe.same_question_similarity),
        ),
    )
    assert len(pairs) == 410
    assert review.reasons() == {"context-bound": 63, "duplicate": 6, "trivial": 1}
    dropped = {drop.pair.id: drop for drop in review.drops}
    # The same question about six pages; "What is Jenkins Pipeline?" is asked of three.
    assert {name for name, drop in dropped.items() if drop.reason == "duplicate"} == {
        "jenai-06-00", "jenai-09-08", "jenai-24-17", "jenai-34-00", "jenai-38-00", "jenai-61-00",
    }  # fmt: skip
    # A sample's own stage, an answer that names examples, one that only sends its reader elsewhere.
    assert {dropped[name].reason for name in ("jenai-01-13", "jenai-12-06", "jenai-28-01")} == {"context-bound"}
    # Upstream and downstream are two things, however alike their questions are.
    assert {"jenai-24-06", "jenai-24-26"} & dropped.keys() == set()


@pytest.mark.corpora
@pytest.mark.slow
def test_the_right_page_of_the_handbook_is_found(corpora: Path, tmp_path: Path) -> None:
    sections = [
        section for document in documents(corpora / "docs.jenkins.io") for section in split_document(document, 900, 40)
    ]
    build_index(sections, tmp_path / "index.sqlite")
    index = SearchIndex.open(tmp_path / "index.sqlite")
    ranks = []
    with (corpora / "jenai" / "derived_dev_split.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pair = Pair(
                id=row["id"], kind="concept", question=row["question"], answer="x", source_path=row["source_path"]
            )
            texts = {section.passage.text for section in index.sections_of(pair.source_path)}
            # Nobody can find the page of a question that leans on it, nor one that is not there.
            if not texts or isinstance(ContextBound().review(pair), Drop):
                continue
            # A page with the very same text is as good.
            pages = [
                pair.source_path
                if hit.passage.text in texts and len(hit.passage.text) > 150
                else hit.passage.source_path
                for hit in index.search(pair.question, 40)
            ]
            pages = list(dict.fromkeys(pages))
            ranks.append(pages.index(pair.source_path) + 1 if pair.source_path in pages else 1000)
    index.close()
    assert len(ranks) > 320
    share = {limit: sum(rank <= limit for rank in ranks) / len(ranks) for limit in (1, 5)}
    reciprocal = sum(1 / rank for rank in ranks) / len(ranks)
    figures = (len(sections), len(ranks), share, reciprocal)
    assert share[1] >= 0.71, figures
    assert share[5] >= 0.88, figures
    assert reciprocal >= 0.78, figures
