"""Readers of HTML, console logs, tables, posts and archives: what must hold for anything, and a short fuzz of each."""

import io
import json
import os
import re
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jeeves_collector.archives import unpack
from jeeves_collector.drops import Dropped
from jeeves_collector.html import to_markdown
from jeeves_collector.markdown import scan_fences
from jeeves_collector.sources.console_log import clean_log
from jeeves_collector.sources.controller_documents import job_text
from jeeves_collector.sources.posts import from_row, tag_names
from jeeves_collector.sources.tables import read_rows
from jeeves_shared.errors import SourceUnusable

COUNT = int(os.environ.get("JEEVES_FUZZ_EXAMPLES", "60"))
EXAMPLES = settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
code = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\x85")
    | st.sampled_from("\n\t `<>&"),
    max_size=120,
)
fragments = st.sampled_from(
    ["<p>", "</p>", "<ul>", "<li>", "</li>", "</ul>", "<pre>", "</pre>", "<pre><code class='lang-sh'>",
     "</code></pre>", "<blockquote>", "</blockquote>", "<table><tr><td>", "</td></tr></table>", "<a href='x'>", "</a>",
     "<b>", "text", "\n", "&lt;", "<!-- c -->", "<script>x</script>", "JEEVESHTML0X", "<div>", "`",
     "<img src=x alt=y>", "<h2>", "</h2>", "<br>"]
)  # fmt: skip


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wanted_code(text: str) -> str:
    # HTML takes the first line end of `pre` away; a last one ends the last line.
    return text.removeprefix("\n").rstrip("\n") if text.strip() else ""


@EXAMPLES
@given(st.lists(code, min_size=1, max_size=4))
def test_code_comes_out_of_html_as_it_went_in(blocks: list[str]) -> None:
    body = "<p>between</p>".join(f"<pre><code>{escaped(block)}</code></pre>" for block in blocks)
    kept = [wanted_code(block) for block in blocks if wanted_code(block)]
    made = to_markdown(body)
    found = scan_fences(made.markdown)[0]
    assert made.code_blocks == len(kept)
    assert [block.rstrip() for block in found] == [one.rstrip() for one in kept]


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<ul><li>one<pre><code>a\n  b</code></pre></li><li>two</li></ul>", "  ```\n  a\n    b\n  ```"),
        ("<blockquote><p>q</p><pre>x\n\ny</pre></blockquote>", "> ```\n> x\n>\n> y\n> ```"),
        ("<pre><code>```\nin\n```</code></pre>", "````\n```\nin\n```\n````"),
        ("<table><tr><td><pre>1</pre></td><td><pre>2</pre></td></tr></table>", "```\n2\n```"),
        ('<div class="highlight-source-groovy"><pre>node { }</pre></div>', "```groovy\nnode { }\n```"),
        ('<p>see <a href="/x">it</a></p>', "see [it](https://a.example/x)"),
        ('<a href="javascript:x()">t</a><script>bad()</script><p>ok</p>', "ok"),
        ("<p>a JEEVESHTML0X b</p><pre>c</pre>", "```\nc\n```"),
    ],
)
def test_html(html: str, markdown: str) -> None:
    text = to_markdown(html, "https://a.example/").markdown
    assert markdown in text
    assert "bad()" not in text
    assert "javascript" not in text
    assert not re.search(r"JEEVESHTML\d", text)


@EXAMPLES
@given(st.lists(fragments, max_size=40))
def test_any_html_is_read(parts: list[str]) -> None:
    text = to_markdown("".join(parts)).markdown
    assert not re.search(r"JEEVESHTML\d+X", text)


def test_deep_html_is_read() -> None:
    assert "deep" in to_markdown("<div>" * 3000 + "deep" + "</div>" * 3000).markdown


@EXAMPLES
@given(st.binary(max_size=300), st.lists(st.sampled_from([b"\x1b[8mha:////AA==\x1b[0m", b"\x1b[31m", b"\r", b"\n"])))
def test_a_log_has_no_controls(data: bytes, noise: list[bytes]) -> None:
    text = clean_log(data + b"".join(noise) + data)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text)


def test_a_log_as_people_read_it() -> None:
    note = b"\x1b[8mha:////4Hk=\x1b[0m"
    raw = (
        b"12:00:01 "
        + note
        + b"\x1b[1mStarted\x1b[0m\n12:00:02 50%\r12:00:02 100%\n12:00:03 "
        + b"same\n12:00:03 " * 9
        + b"end\n"
    )
    text = clean_log(raw)
    assert text.startswith(
        "[from 12:00:01 to 12:00:03]\nStarted\n100%\nsame\nsame\nsame\n[the line above 6 more times]\nend"
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".xlsx", ".parquet"])
def test_any_bytes_are_a_table_or_a_reason(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{suffix}"

    @EXAMPLES
    @given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def fuzz(data: bytes) -> None:
        path.write_bytes(data)
        try:
            rows = list(read_rows(path))
        except SourceUnusable as exc:
            assert len(exc.detail) > 20
        else:
            assert all(isinstance(row, dict | Dropped) for row in rows)

    fuzz()


def test_bombs_and_outside_entities_in_configurations_are_refused() -> None:
    bomb = '<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><project><a>&b;</a></project>'
    outside = '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><project><a>&x;</a></project>'
    for text in (bomb, outside):
        with pytest.raises(Dropped, match="document type"):
            job_text("x", {}, text)


@EXAMPLES
@given(st.text(max_size=200))
def test_any_configuration_is_read_or_refused(text: str) -> None:
    try:
        assert job_text("j", {}, f"<a>{text}</a>").startswith("# Job j")
    except Dropped as exc:
        assert exc.reason.value == "entry-invalid"


def test_tags_of_all_times() -> None:
    assert tag_names("<jenkins><c#>") == tag_names("|jenkins|c#|") == tag_names("jenkins,c#") == ("jenkins", "c#")


@pytest.mark.parametrize(
    ("date", "licence"),
    [("2010-01-01", "CC-BY-SA-2.5"), ("2015-01-01", "CC-BY-SA-3.0"), ("2020-01-01T10:00:00.123", "CC-BY-SA-4.0")],
)
def test_licence_by_date(date: str, licence: str) -> None:
    assert from_row({"Id": "1", "CreationDate": date}).spdx == licence


def tar_of(path: Path, members: list[tuple[Any, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_an_archive_gives_its_files_and_nothing_else(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link.adoc")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("hard.adoc")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../x"
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    names = ["docs/a.adoc", "../escape.adoc", "/absolute.adoc", "a/../../b.adoc", "./ok.adoc", "x" * 300]
    members = [(tarfile.TarInfo(name), b"= T\n") for name in names]
    found = unpack(tar_of(tmp_path / "a.tar.gz", [*members, (link, b""), (hard, b""), (device, b"")]), tmp_path / "out")
    assert sorted(p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*") if p.is_file()) == [
        "docs/a.adoc",
        "ok.adoc",
    ]
    assert [drop.reason for drop in found.drops].count("archive-escape") == 4
    assert [drop.reason for drop in found.drops].count("archive-link") == 3
    assert not (tmp_path / "escape.adoc").exists()
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out").drops[0].reason == found.drops[0].reason


def test_bombs_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.adoc", b"\0" * (80 * 1024**2))
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(tar_of(tmp_path / "whole.tar.gz", [(tarfile.TarInfo("a.adoc"), b"x" * 90_000)]).read_bytes()[:60])
    nonsense = tmp_path / "nonsense.zip"
    nonsense.write_bytes(b"PK\x03\x04 no archive")
    for path, message in (
        (bomb, "unpacks to more"),
        (cut, "damaged"),
        (nonsense, "damaged"),
        (tmp_path / "no.zip", "does not exist"),
    ):
        with pytest.raises(SourceUnusable, match=message):
            unpack(path, tmp_path / "out")


@EXAMPLES
@given(data=st.binary(max_size=600), suffix=st.sampled_from([".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]))
def test_any_bytes_are_an_archive_or_a_reason(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert unpack(path, tmp_path / "out").folder.is_dir()
        except SourceUnusable as exc:
            assert "a." in exc.detail


def test_json_of_any_shape_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for content in ({"data": [{"a": 1}]}, [{"a": 1}], {"a": 1}):
        path.write_text(json.dumps(content))
        assert list(read_rows(path)) == [{"a": 1}]
    path.write_text("[" * 100_000)
    with pytest.raises(SourceUnusable, match="not JSON"):
        list(read_rows(path))
