"""AsciiDoc to Markdown with the real pandoc."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jeeves_collector.asciidoc.code_blocks import CodeBlock, CodeLost, restore
from jeeves_collector.asciidoc.convert import PreparedDocument, assemble, convert_piece, plain_title, prepare
from jeeves_collector.asciidoc.pandoc import ConversionFailed, PandocPool, find_pandoc
from jeeves_collector.asciidoc.references import Target
from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.markdown import scan_fences

Convert = Callable[..., str]


class Site:
    """Includes beside the document, and one other page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve(self, target: str, including: Path) -> Path:
        path = self._folder / target
        if not path.is_file():
            raise Dropped(DropReason.INCLUDE_MISSING, "not there")
        return path

    def read(self, path: Path) -> str:
        return path.read_text()

    def page(self, target: str) -> Target | None:
        return {
            "": Target("https://example.org/own/", "Own"),
            "other.adoc": Target("https://example.org/other/", "Other page"),
        }.get(target)


@pytest.fixture(scope="module")
def pool() -> Iterator[PandocPool]:
    with PandocPool(find_pandoc(), 1, 20) as running:
        yield running


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., PreparedDocument]:
    def make(text: str, **attributes: str) -> PreparedDocument:
        path = tmp_path / "page.adoc"
        path.write_text(text)
        site = Site(tmp_path)
        macros = {"plugin": "https://plugins.example.org/"}
        return prepare(path, text, attributes, includes=site, pages=site, macros=macros)

    return make


@pytest.fixture
def convert(prepared: Callable[..., PreparedDocument], pool: PandocPool) -> Convert:
    def run(text: str, **attributes: str) -> str:
        document = prepared(text, **attributes)
        results = [convert_piece(piece, pool) for piece in document.pieces]
        assert not [result for result in results if result.failed]
        return assemble(plain_title(document.title), document.pieces, results)

    return run


CODE = "pipeline {  // <1>\n\tagent any   \n\n    sh '''\n      echo \"${A} {b} <c> *d* `e`\"\n    '''\n}"


@pytest.mark.parametrize(
    "block",
    [
        f"[source,groovy]\n----\n{CODE}\n----",
        f"before\n[source,groovy]\n----\n{CODE}\n----\nafter",
        f"....\n{CODE}\n....",
        f"```groovy\n{CODE}\n```",
        f"[source,groovy]\n.Title\n--\n{CODE}\n--",
        f"* item\n+\n[source,groovy]\n----\n{CODE}\n----\n* next",
        f". one\n.. two\n+\n----\n{CODE}\n----\n\n+\nNOTE: behind a blank line\n. three",
        f"[NOTE]\n====\ntext\n\n----\n{CODE}\n----\n====",
        f"|===\n|a |b\n\n|x\na|\n----\n{CODE}\n----\n|===",
        f"term::\n+\n----\n{CODE}\n----",
    ],
)
def test_code_comes_through_untouched(convert: Convert, block: str) -> None:
    blocks, _ = scan_fences(convert(f"= T\n\n== Section\n\n{block}\n"))
    assert [re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE) for text in blocks] == [
        re.sub(r"[ \t]+$", "", CODE, flags=re.MULTILINE)
    ]


def test_code_has_its_language_and_a_fence_it_cannot_close(convert: Convert) -> None:
    text = convert(
        "= T\n\n[source, Groovy]\n----\na\n----\n\n[source,subs=attributes]\n....\n```\n{v}\n```\n....\n", v="1"
    )
    assert "```groovy\na\n```" in text
    assert "````\n```\n1\n```\n````" in text


def test_source_paragraph_and_literal_paragraph_are_code(convert: Convert) -> None:
    assert scan_fences(convert("= T\n\n[source,sh]\nls -l\npwd\n\ntext\n\n  indented\n    more\n"))[0] == [
        "ls -l\npwd",
        "indented\n  more",
    ]


def test_attributes_resolve_and_unknown_ones_stay_and_are_counted(
    convert: Convert, prepared: Callable[..., PreparedDocument]
) -> None:
    source = (
        "= Title of {product}\n:version: 2.504\n:url: https://x.org/{version}\n\nUse {product} {version}, "
        "{url}[there], {unknown}, `{version}`, ${SHELL}, \\{version}, +{version}+.\n\n:version: 3\n\nNow {version}.\n\n"
        "----\n{version}\n----\n"
    )
    text = convert(source, product="Jenkins")
    assert text.startswith("# Title of Jenkins\n\nUse Jenkins 2.504, [there](https://x.org/2.504), {unknown}, `2.504`")
    assert "${SHELL}, {version}, {version}." in text.replace("\\", "")
    assert "Now 3." in text
    assert "```\n{version}\n```" in text
    assert prepared(source, product="Jenkins").unresolved_attributes == {"unknown": 1}


def test_inline_code_stays_one_span(convert: Convert) -> None:
    text = convert(
        "= T\n\nFails with `Required context class hudson.FilePath is missing`, `a -- b`, `x_y_z*`, `+{n}+`.\n"
    )
    assert r"`C:\Users\<you>\x`" in convert("= T\n\nIt is `C:\\Users\\<you>\\x`.\n")
    assert "`Required context class hudson.FilePath is missing`, `a -- b`, `x_y_z*`, `{n}`" in text


def test_conditionals(convert: Convert) -> None:
    text = convert(
        "= T\n:a:\n:n: 5\n\nifdef::a[shown one]\n\nifdef::b[hidden one]\n\nifndef::b[]\nshown two\n"
        "ifdef::a+b[]\nhidden two\nendif::[]\nendif::[]\n\nifeval::[{n} > 4]\nshown three\nendif::[]\n\n"
        'ifeval::["{n}" == "4"]\nhidden three\nifdef::a[]\nhidden four\nendif::[]\nendif::[]\n\nlast\n'
    )
    assert re.findall(r"(shown|hidden) (\w+)", text) == [("shown", "one"), ("shown", "two"), ("shown", "three")]
    assert text.rstrip().endswith("last")


def test_references_become_links(convert: Convert, prepared: Callable[..., PreparedDocument]) -> None:
    source = (
        "= T\n\nSee xref:other.adoc[], xref:other.adoc#part[the part], <<here>>, <<here,shown>>, <<First Section>>, "
        "xref:gone.adoc[lost text], plugin:git[Git plugin], https://a.org[A^].\n\n[[here]]\n== First Section\n\ntext\n"
    )
    text = convert(source)
    for link in (
        "[Other page](https://example.org/other/)",
        "[the part](https://example.org/other/#part)",
        "[First Section](https://example.org/own/#here)",
        "[shown](https://example.org/own/#here)",
        "lost text",
        "[Git plugin](https://plugins.example.org/git)",
        "[A](https://a.org)",
    ):
        assert link in text
    assert "](gone" not in text
    assert prepared(source).unresolved_references == {"gone.adoc": 1}


def test_headings_callouts_admonitions_tables_and_titles(convert: Convert) -> None:
    text = convert(
        "= T\nAda Lovelace <ada@example.org>\nv1.0, 2026-01-01\n:toc:\n\n== 1. Start `x y`\n\n=== Deeper\n\n"
        ".A block title\n----\na // <1>\n----\n<1> first\n\nWARNING: hot\n\n[TIP]\n====\ncold\n====\n\n"
        "|===\n|H1 |H2\n\n|`a\\|b` |c d\n|===\n\nkey:: value\n\nvideo::abc[youtube]\n"
    )
    assert text.startswith(
        "# T\n\n## 1. Start `x y`\n\n### Deeper\n\n**A block title**\n\n```\na // <1>\n```\n\n1.  first"
    )
    assert "> [!WARNING]\n> hot" in text
    assert "> [!TIP]\n> cold" in text
    assert re.search(r"^\| H1 +\| H2 +\|$", text, re.MULTILINE)
    assert "| `a|b` | c d |" in text or "| `a\\|b` | c d |" in text
    assert "**key**\n\n  value" in text
    assert "https://www.youtube.com/watch?v=abc" in text
    assert "Lovelace" not in text
    assert "<div" not in text


def test_a_piece_pandoc_cannot_read_stays_with_its_code(prepared: Callable[..., PreparedDocument]) -> None:
    document = prepared("= T\n\ntext\n\n----\ncode\n----\n")
    with PandocPool(find_pandoc(), 1, timeout_seconds=0.0) as too_slow:
        with pytest.raises(ConversionFailed, match="took longer"):
            too_slow.convert("text\n", heading=False)
        results = [convert_piece(piece, too_slow) for piece in document.pieces]
    assert all(result.failed for result in results)
    assert assemble("T", document.pieces, results) == "# T\n\ntext\n\n```\ncode\n```\n"


def test_the_pool_lives_on_after_a_death(pool: PandocPool) -> None:
    worker = pool._workers[0]
    assert pool.convert("one\n", heading=False) == ("", "one\n")
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    with pytest.raises(ConversionFailed):
        pool.convert("two\n", heading=False)
    assert pool.convert("three\n", heading=False) == ("", "three\n")


def test_pandoc_reads_no_file(pool: PandocPool, tmp_path: Path) -> None:
    secret = tmp_path / "secret.adoc"
    secret.write_text("hidden-value")
    try:
        _, markdown = pool.convert(f"include::{secret}[]\n\nimage::{secret}[]\n", heading=False)
    except ConversionFailed:
        return
    assert "hidden-value" not in markdown


@pytest.mark.parametrize("markdown", ["nothing", "```\nJEEVESCODE0X\n```\n\n```\nJEEVESCODE0X\n```", "JEEVESCODE0X"])
def test_lost_code_is_noticed(markdown: str) -> None:
    with pytest.raises(CodeLost):
        restore(markdown, [CodeBlock("", "x")])


def test_long_lists_are_split_without_loss(prepared: Callable[..., PreparedDocument], convert: Convert) -> None:
    source = "= T\n\n== S\n\n" + "".join(f"* item {number} {'x' * 40}\n" for number in range(1000))
    assert len(prepared(source).pieces) > 2
    assert re.findall(r"item (\d+)", convert(source)) == [str(number) for number in range(1000)]
