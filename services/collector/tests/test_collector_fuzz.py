"""A fuzz run for each parser that has none beside its other tests: anything is read, or refused with a reason.

Short by default; longer, for all files of tests: `JEEVES_FUZZ_EXAMPLES=5000 python -m pytest services/collector/tests
-k "any or same or skipped"`. `JEEVES_FUZZ_SEED` begins the answers of hosts elsewhere.
"""

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jeeves_collector.antora import find_components
from jeeves_collector.drops import Dropped
from jeeves_collector.encoding import decode
from jeeves_collector.markdown import scan_fences, split_front_matter
from jeeves_collector.pairs import read_pairs
from jeeves_collector.tree import TreeReader
from jeeves_collector.walk import walk
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.contracts.recipes import PairsSource, TreeSource
from jeeves_shared.errors import JeevesError, SourceUnusable

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from remotes import REMOTE_KINDS, running
from server import Answer, Query

COUNT = int(os.environ.get("JEEVES_FUZZ_EXAMPLES", "60"))
EXAMPLES = settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ASCIIDOC_LINES = r"""
= Title
== Section
:name: value
:!name:
{name} and {missing}
----
....
====
****
////
|===
| cell | cell
a| - item
[source,groovy]
[NOTE]
[cols="1,2"]
NOTE: text
include::b.adoc[]
include::b.adoc[tag=x]
include::b.adoc[lines=1..-1;3]
include::../../etc/passwd[]
include::a.adoc[]
ifdef::name[]
ifndef::x[]
ifeval::["{name}" == "value"]
endif::[]
xref:b.adoc#x[text]
<<anchor,text>>
[[anchor]]
// tag::x[]
// end::x[]
* item
. item
+
 literal
text `code` *bold* kbd:[Ctrl] pass:[<b>] footnote:[x]
```sh
```
<1> callout
image::i.png[]
a::
---
title: x
流水线
""".splitlines()
ASCIIDOC = st.lists(st.sampled_from([*ASCIIDOC_LINES, "\t", "\u00a0"]), max_size=40).map("\n".join)
YAML_LINES = [
    "---",
    "title: x",
    "title: [",
    "a: &a [*a]",
    "? ",
    "- b",
    "...",
    "text",
    "\t",
    "x: !!python/object:os",
    "date: 2026-13-45",
    "0: 1",
]
FRONT_MATTER = st.lists(st.sampled_from(YAML_LINES), max_size=12).map("\n".join)
COMPONENTS = FRONT_MATTER | st.sampled_from(
    ["name: a\nnav: [modules/x/nav.adoc]", "name: a\nnav: [/etc/passwd, ../../etc/passwd]"]
)
PAGES = ASCIIDOC.map(str.encode) | st.binary(max_size=300)


def written(root: Path, files: dict[str, bytes]) -> TreeReader:
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    source = TreeSource(name="t", location=str(root))
    return TreeReader(source, walk(root, source.include, ()))


@EXAMPLES
@given(page=PAGES, partial=ASCIIDOC, name=st.sampled_from(["a.adoc", "a.md"]))
def test_any_page_is_read_or_refused(page: bytes, partial: str, name: str, tmp_path: Path) -> None:
    for other in ("a.adoc", "a.md"):
        (tmp_path / "tree" / other).unlink(missing_ok=True)
    reader = written(tmp_path / "tree", {name: page, "b.adoc": partial.encode()})
    try:
        item = reader.read(name)
    except Dropped as exc:
        assert str(exc)
        return
    assert item.title
    if not isinstance(item.body, str):
        for piece in item.body.pieces:
            assert "root:" not in piece.request


@EXAMPLES
@given(text=FRONT_MATTER | st.text(max_size=200))
def test_any_front_matter_leaves_the_text(text: str) -> None:
    fields, rest = split_front_matter(text)
    assert text.endswith(rest)
    assert isinstance(fields.title, str)
    scan_fences(rest)


@EXAMPLES
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_text_or_a_reason(data: bytes) -> None:
    try:
        assert "\r" not in decode(data)
    except Dropped as exc:
        assert exc.reason.value in ("binary", "encoding")


@EXAMPLES
@given(component=COMPONENTS, navigation=ASCIIDOC)
def test_any_antora_component_is_read(component: str, navigation: str, tmp_path: Path) -> None:
    files = {"antora.yml": component, "modules/x/nav.adoc": navigation, "modules/x/pages/p.adoc": "= P\n\ntext"}
    written(tmp_path, {name: text.encode() for name, text in files.items()})
    site = find_components(tmp_path, [tmp_path / name for name in files])
    for trail in site.navigation().values():
        assert all(isinstance(title, str) for title in trail)


NAMES = st.sampled_from(["question", "answer", "source_path", "kind", "id", "x", "key_terms"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=8,
)


@EXAMPLES
@given(
    data=st.lists(JSON.map(json.dumps), max_size=4).map("\n".join).map(str.encode) | st.binary(max_size=200),
    suffix=st.sampled_from([".jsonl", ".csv"]),
)
def test_any_file_of_pairs_is_read_or_refused(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_bytes(data)
    try:
        for row in read_pairs(PairsSource(name="p", location=str(path)), path):
            assert isinstance(row, Pair) or str(row)
    except SourceUnusable as exc:
        assert len(exc.detail) > 20


ODD_VALUES: list[Any] = [None, True, -1, 0.5, 10**30, "", "x", "\0", "<b>&x;", [], {}, [None], [[]], {"x": None}, ["x"]]


def changed(draw: random.Random, value: Any) -> Any:
    """The value with something in it replaced, removed or added."""
    if draw.random() < 0.1 or not isinstance(value, dict | list) or not value:
        return draw.choice(ODD_VALUES)
    if isinstance(value, list):
        place = draw.randrange(len(value))
        return [*value[:place], changed(draw, value[place]), *value[place + 1 :]]
    name = draw.choice(sorted(value))
    if draw.random() < 0.2:
        return {key: one for key, one in value.items() if key != name}
    return {**value, name: changed(draw, value[name])}


@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_any_answer_of_a_host_is_read_or_refused(
    kind: str, collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("")
    monkeypatch.setenv("JEEVES_COLLECTOR_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("JEEVES_COLLECTOR_BACKOFF_SECONDS", "0.01")
    monkeypatch.setenv("JEEVES_COLLECTOR_PATIENCE_SECONDS", "0.2")
    seed = int(os.environ.get("JEEVES_FUZZ_SEED", "1"))
    for number in range(max(COUNT // 30, 2)):
        draw = random.Random(f"{seed} {number}")
        with running(kind, credentials) as remote:
            respond = remote.simulator.respond

            def odd(query: Query, respond: Any = respond, draw: random.Random = draw) -> Answer:
                answer: Answer = respond(query)
                try:
                    content = json.loads(answer.body)
                except ValueError:
                    return answer
                return Answer.of(changed(draw, content), answer.status) if draw.random() < 0.3 else answer

            remote.server._respond = odd
            try:
                assert collector.collect(remote.source | {"name": f"r{number}"}).documents > 0
            except JeevesError as exc:
                assert len(exc.detail) > 20
