import re
from datetime import UTC, datetime

import pytest

from jeeves_curator.sections import FENCE_OVERFLOW, documentation_prior, split_document
from jeeves_shared.contracts.documents import Document, DocumentKind, Provenance
from jeeves_shared.search import Section

WHENCE = Provenance(
    url="https://example.org", retrieved_at=datetime(2026, 1, 1, tzinfo=UTC), licence="MIT", author="", sha256="0" * 64
)


def document(path: str, title: str, text: str, kind: DocumentKind = "how-to") -> Document:
    return Document(source_path=path, title=title, kind=kind, text=text, provenance=WHENCE)


CODE = "```groovy\npipeline {\n\n    # not a heading\n    agent any\n}\n```"


def split(text: str, longest: int = 300, shortest: int = 0, title: str = "Page") -> list[Section]:
    return split_document(document("src/a.md", title, text), longest, shortest)


def test_sections_keep_the_path_of_their_headings() -> None:
    text = (
        "# Page\n\nIntroduction here.\n\n## One\n\nFirst.\n\n### Deep `code`\n\nSecond.\n\n## Two [link](x)\n\nThird."
    )
    found = [(section.heading_path, section.passage.section, section.passage.text) for section in split(text)]
    assert found == [
        (("Page",), "Page", "Introduction here."),
        (("Page", "One"), "One", "First."),
        (("Page", "One", "Deep code"), "Deep code", "Second."),
        (("Page", "Two link"), "Two link", "Third."),
    ]


def test_a_heading_inside_a_fence_is_code() -> None:
    sections = split(f"## Use\n\n{CODE}\n\nAfter.")
    assert [section.passage.section for section in sections] == ["Use"]
    assert CODE in sections[0].passage.text


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_other_fences_inside_a_fence_do_not_end_it(fence: str) -> None:
    inner = "~~~" if fence != "~~~" else "```"
    text = f"{fence}text\n{inner}\n## no\n{inner}x\n{fence}\n\n## yes\n\nThis one."
    assert [section.passage.section for section in split(text)] == ["Page", "yes"]


def test_long_sections_are_cut_at_blank_lines_and_lose_nothing() -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 20 for number in range(30)]
    sections = split("## Long\n\n" + "\n\n".join(paragraphs))
    assert len(sections) > 5
    assert all(len(section.passage.text) <= 300 for section in sections)
    joined = "\n\n".join(section.passage.text for section in sections)
    assert joined.split() == " ".join(paragraphs).split()
    assert len({section.passage.section_id for section in sections}) == len(sections)


def test_code_is_never_cut_unless_it_is_enormous() -> None:
    block = "```\n" + "\n\n".join(f"line {number}" for number in range(60)) + "\n```"
    assert 300 < len(block) < 300 * FENCE_OVERFLOW
    assert any(section.passage.text == block for section in split(f"Before it.\n\n{'x' * 250}\n\n{block}\n\nAfter it."))
    enormous = "```yaml\n" + "\n".join(f"key{number}: value" for number in range(400)) + "\n```"
    pieces = [section.passage.text for section in split(enormous)]
    assert len(pieces) > 5
    assert all(piece.startswith("```yaml\n") and piece.endswith("\n```") for piece in pieces)
    assert re.findall(r"key\d+: value", "\n".join(pieces)) == re.findall(r"key\d+: value", enormous)


def test_code_stays_with_the_paragraph_that_introduces_it() -> None:
    text = "a" * 220 + "\n\nRun this:\n\n" + CODE
    assert [section.passage.text for section in split(text, longest=260)] == ["a" * 220, f"Run this:\n\n{CODE}"]


def test_an_introduction_does_not_stand_alone_before_a_block_that_is_too_long() -> None:
    code = "```\n" + "\n".join(f"line {number}" for number in range(30)) + "\n```"
    assert [section.passage.text for section in split(f"With Squid 2.6:\n\n{code}")] == [f"With Squid 2.6:\n\n{code}"]
    rows = [f"| `--option{number}` | what it does |" for number in range(20)]
    first, *_ = [section.passage.text for section in split("The options:\n\n" + "\n".join(rows))]
    assert first.startswith(f"The options:\n\n{rows[0]}\n{rows[1]}")


def test_short_sections_join_the_next_one_with_their_heading() -> None:
    sections = split(
        "## Empty\n\n## Tiny\n\nShort.\n\n## Full\n\nA sentence that is long enough to stand.", shortest=30
    )
    assert [section.passage.section for section in sections] == ["Full"]
    assert sections[0].passage.text.startswith("**Tiny**\n\nShort.")


def test_a_short_last_section_joins_the_one_before() -> None:
    sections = split("## Full\n\nA sentence that is long enough to stand.\n\n## See also\n\nThat.", shortest=30)
    assert [section.passage.section for section in sections] == ["Full"]
    assert sections[0].passage.text.endswith("**See also**\n\nThat.")


def test_a_document_of_one_short_line_still_is_a_section() -> None:
    assert [section.passage.text for section in split("Tiny.", shortest=40)] == ["Tiny."]
    assert split("", shortest=40) == []


def test_ids_depend_on_headings_not_on_words() -> None:
    before = split("## One\n\nText.\n\n## Two\n\nMore.")
    after = split("## One\n\nOther text.\n\n## Two\n\nMore.")
    assert [section.passage.section_id for section in before] == [section.passage.section_id for section in after]
    assert len({section.passage.section_id for section in before}) == 2


def test_plans_and_news_rank_below_documentation() -> None:
    assert documentation_prior(document("src/user/pipeline.md", "T", "x")) == 1.0
    assert documentation_prior(document("src/blog/2020/news.md", "T", "x")) == 0.0
    assert documentation_prior(document("src/user/log.md", "T", "x", kind="log")) == 0.0
