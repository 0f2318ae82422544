"""How well the index finds pages of the real handbook. Floors, some way below what was measured; see docs."""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jeeves_curator.sections import split_document
from jeeves_curator.steps import ContextBound, Drop
from jeeves_shared.contracts.documents import Document, Pair, Provenance
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
