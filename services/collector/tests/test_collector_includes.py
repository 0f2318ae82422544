"""Includes: what they select, and what they may not do."""

from pathlib import Path
from typing import Any

import pytest

from jeeves_collector.asciidoc.includes import parse_attribute_list, select_lines
from jeeves_shared.errors import SourceUnusable

LINES = ["a", "// tag::one[]", "b", "// tag::two[]", "c", "// end::two[]", "d", "// end::one[]", "e"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "abcde"),
        ({"tag": "one"}, "bcd"),
        ({"tags": "two"}, "c"),
        ({"tags": "one;!two"}, "bd"),
        ({"tags": "!two"}, "abde"),
        ({"tags": "**"}, "abcde"),
        ({"tags": "*"}, "bcd"),
        ({"lines": "1;3"}, "ab"),
        ({"lines": "5..-1"}, "cde"),
        ({"lines": "5..7"}, "cd"),
    ],
)
def test_tags_and_lines(attributes: dict[str, str], expected: str) -> None:
    assert "".join(select_lines(LINES, attributes)) == expected


def test_indentation_is_set() -> None:
    assert select_lines(["    a", "", "      b"], {"indent": "0"}) == ["a", "", "  b"]


def test_attribute_list() -> None:
    assert parse_attribute_list('source, groovy,subs="attributes,quotes",opts=a') == (
        ["source", "groovy"],
        {"subs": "attributes,quotes", "opts": "a"},
    )


def test_includes_of_a_tree(collector: Any, write_tree: Any) -> None:
    root = write_tree(
        {
            "a/page.adoc": (
                "= Page\n\ninclude::_partials/note.adoc[]\n\n[source,groovy]\n----\n"
                "include::../code/Jenkinsfile[tag=use]\n----\n\n"
                "== Section\n\ninclude::deep.adoc[leveloffset=+1]\n\n== Behind\n\nenough text to be kept here\n"
            ),
            "a/_partials/note.adoc": ":word: resolved\n\nA note that is {word}.\n",
            "a/deep.adoc": "= Deep\n\nunder section\n\n== Deeper\n\ntext of the deeper one, long enough to be kept\n",
            "code/Jenkinsfile": "// tag::use[]\nnode {\n    sh 'make'\n}\n// end::use[]\nnot this\n",
        }
    )
    manifest = collector.collect({"type": "tree", "name": "s", "location": str(root)})
    text = collector.documents(manifest)["s/a/page.adoc"].text
    assert "A note that is resolved." in text
    assert "```groovy\nnode {\n    sh 'make'\n}\n```" in text
    assert "## Section\n\n## Deep\n\nunder section\n\n### Deeper" in text
    assert "## Behind" in text
    assert manifest.drops == {"partial": 1}


def test_a_changed_include_is_a_changed_collection(collector: Any, write_tree: Any) -> None:
    files = {
        "p.adoc": "= P\n\ninclude::_x.adoc[]\n\nA text that is long enough to be kept as it is.\n",
        "_x.adoc": "one\n",
    }
    source = {"type": "tree", "name": "s", "location": str(write_tree(files))}
    before = collector.collect(source)
    write_tree({"_x.adoc": "two\n"})
    after = collector.collect(source)
    assert before.id != after.id
    assert "two" in collector.documents(after)["s/p.adoc"].text


@pytest.mark.parametrize(
    ("include", "reason"),
    [
        ("include::../../outside.adoc[]", "include-outside"),
        ("include::/etc/passwd[]", "include-outside"),
        ("include::https://example.org/x.adoc[]", "include-outside"),
        ("include::link.adoc[]", "include-outside"),
        ("include::page.adoc[]", "include-cycle"),
        ("include::loop-a.adoc[]", "include-cycle"),
        ("include::gone.adoc[]", "include-missing"),
        ("include::bytes.adoc[]", "binary"),
    ],
)
def test_a_bad_include_is_refused_with_a_reason(
    collector: Any, write_tree: Any, tmp_path: Path, include: str, reason: str
) -> None:
    (tmp_path / "outside.adoc").write_text("SECRET")
    root = write_tree(
        {
            "x/page.adoc": f"= Page\n\nA text that is long enough to be kept as a document.\n\n{include}\n\nend\n",
            "x/loop-a.adoc": "include::loop-b.adoc[]\n",
            "x/loop-b.adoc": "include::loop-a.adoc[]\n",
            "x/bytes.adoc": b"\x00\x01",
        }
    )
    (root / "x/link.adoc").symlink_to(tmp_path / "outside.adoc")
    manifest = collector.collect({"type": "tree", "name": "s", "location": str(root), "include": ["x/page.adoc"]})
    text = collector.documents(manifest)["s/x/page.adoc"].text
    assert manifest.drops == {reason: 1}
    assert "SECRET" not in text
    assert "root:" not in text
    assert text.endswith("end\n")
    assert "includes left out: s/x/page.adoc" in collector.log()


def test_an_optional_include_may_be_missing(collector: Any, write_tree: Any) -> None:
    root = write_tree(
        {"p.adoc": "= P\n\ninclude::gone.adoc[opts=optional]\n\nA text that is long enough to be kept as it is.\n"}
    )
    assert collector.collect({"type": "tree", "name": "s", "location": str(root)}).drops == {}


def test_includes_that_blow_up_are_stopped(collector: Any, write_tree: Any) -> None:
    files = {f"_{n}.adoc": f"include::_{n + 1}.adoc[]\n" * 10 for n in range(9)}
    files["_9.adoc"] = "boom " * 1000
    files["page.adoc"] = "= P\n\ninclude::_0.adoc[]\n"
    with pytest.raises(SourceUnusable, match="1 include-budget"):
        collector.collect({"type": "tree", "name": "s", "location": str(write_tree(files)), "include": ["page.adoc"]})
