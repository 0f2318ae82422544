"""Files of posts: what the scan by bytes skips is what the parser would refuse, in any form and order of the file."""

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jeeves_collector.drops import Dropped
from jeeves_collector.sources.post_reading import Reading, read_posts
from jeeves_collector.sources.post_rows import Place, Row, csv_rows, xml_rows
from jeeves_collector.sources.post_sieve import PostSieve
from jeeves_collector.sources.posts import from_row, tag_names
from jeeves_collector.sources.staged_posts import StagedPosts
from jeeves_shared.errors import SourceUnusable

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "simulators"))

from stackexchange_dump import write_dump

COUNT = int(os.environ.get("JEEVES_FUZZ_EXAMPLES", "60"))
EXAMPLES = settings(max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TAGS = ["jenkins", "c#"]


class All:
    """Wants every row."""

    def may_want(self, number: int, attributes: bytes) -> bool:
        return True

    def passed(self, number: int) -> None:
        pass


def rows_of(path: Path, read: Callable[..., Iterator[Any]] = xml_rows) -> list[Row]:
    return [row for batch in read(path, Place(), All()) for row in batch.rows]


def staged(path: Path, folder: Path, tags: list[str]) -> list[tuple[Any, ...]]:
    """What comes out of a file: each question with its answers."""
    with StagedPosts(folder / "staged.sqlite", fresh=True) as posts:
        for _ in read_posts(path, xml_rows, tags, posts, Reading()):
            pass
        return [
            (one.number, json.loads(one.question), list(map(json.loads, one.answers)))
            for one in posts.threads(0, 1_000_000)
        ]


def reference(rows: list[Row], tags: list[str]) -> list[tuple[Any, ...]]:
    """The same from all rows, by another way."""
    questions = {
        int(row["Id"]): row
        for row in rows
        if row["PostTypeId"] == "1" and (not tags or set(tags) & set(tag_names(row.get("Tags", "").lower())))
    }
    answers = sorted((row for row in rows if row["PostTypeId"] == "2"), key=lambda row: int(row["Id"]))
    return [
        (number, questions[number], [row for row in answers if int(row["ParentId"]) == number])
        for number in sorted(questions)
    ]


VALUES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from("<>&\"'\n\t "), max_size=30
)
TAG_LISTS = st.lists(st.sampled_from(["jenkins", "Jenkins", "jenkins-pipeline", "c#", "python", "ru"]), max_size=3)


@st.composite
def dumps(draw: st.DrawFn) -> bytes:
    """A file of posts: as dumps are, or in another form that XML allows."""
    plain = draw(st.booleans())
    numbers = draw(st.permutations(range(1, 9)) | st.just(list(range(1, 13))))
    lines = []
    for number in numbers:
        fields = draw(posts(number))
        quote = '"' if plain else draw(st.sampled_from("\"'"))
        blank = " " if plain else draw(st.sampled_from([" ", "\n  "]))
        marks = {'"': "&quot;", "'": "&apos;", "\n": "&#xA;", "\t": "&#x9;"}
        if draw(st.integers(0, 5)) == 0:
            marks["j"] = "&#106;"
        text = "".join(f"{blank}{name}={quote}{escape(value, marks)}{quote}" for name, value in fields.items())
        lines.append(f"  <row{text}{' />' if plain else draw(st.sampled_from(['/>', '></row>']))}")
        if not plain and draw(st.integers(0, 8)) == 0:
            lines.append('<!-- \n<row Id="99" PostTypeId="1" Tags="jenkins" />\n -->')
    head = draw(st.sampled_from(["", '<?xml version="1.0" encoding="utf-8"?>\n', '\ufeff<?xml version="1.0"?>\r\n']))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return f"{head}<posts>{end}{end.join(lines)}{end}</posts>".encode()


@st.composite
def posts(draw: st.DrawFn, number: int) -> dict[str, str]:
    """The fields of one post."""
    kind = draw(st.sampled_from(["1", "2", "2", "4"]))
    fields = {"Id": str(number), "PostTypeId": kind}
    if kind == "2":
        fields["ParentId"] = str(draw(st.integers(1, 14)))
    fields["Body"] = draw(VALUES)
    fields["Title"] = draw(VALUES | st.sampled_from([" Tags=", ' Tags="jenkins', "x' Tags='"]))
    if kind == "1":
        tags = draw(TAG_LISTS)
        fields["Tags"] = draw(
            st.sampled_from(["".join(f"<{tag}>" for tag in tags), f"|{'|'.join(tags)}|", ",".join(tags)])
        )
    return fields


@EXAMPLES
@given(data=dumps(), tags=st.sampled_from([[], TAGS, ["jenkins"]]))
def test_what_is_skipped_is_what_is_not_wanted(data: bytes, tags: list[str], tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    path.write_bytes(data)
    assert staged(path, tmp_path, tags) == reference(rows_of(path), tags)


@pytest.mark.parametrize("order", ["sorted", "answers first", "shuffled"])
def test_answers_are_found_wherever_they_stand(order: str, tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    count = write_dump(path, 300_000, wanted_share=0.2)
    expected = staged(path, tmp_path, ["jenkins"])
    assert len(expected) == count > 10
    assert sum(len(answers) for _, _, answers in expected) > 10
    head, *lines, end = path.read_bytes().splitlines(keepends=True)
    rows = [line for line in lines if b"<row" in line]
    if order == "answers first":
        rows.sort(key=lambda line: b'PostTypeId="1"' in line)
    elif order == "shuffled":
        random.Random(3).shuffle(rows)
    path.write_bytes(head + b"<posts>\n" + b"".join(rows) + end)
    assert staged(path, tmp_path, ["jenkins"]) == expected


def test_a_file_is_read_on_from_any_place(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    write_dump(path, 3_000_000, wanted_share=0.1)
    odd = path.read_bytes().replace(b"PostTypeId", b" PostTypeId", 1)
    for data in (path.read_bytes(), odd):
        path.write_bytes(data)
        sieve = PostSieve(["jenkins"])
        batches = [
            (batch, sieve.last, [post for post in map(sieve.staged, batch.rows) if post])
            for batch in xml_rows(path, Place(), sieve)
        ]
        assert len(batches) > 2
        straight = staged(path, tmp_path, ["jenkins"])
        for number, (batch, last, _) in enumerate(batches):
            with StagedPosts(tmp_path / "resumed.sqlite", fresh=True) as posts:
                posts.add([post for _, _, found in batches[: number + 1] for post in found])
                reading = Reading(offset=batch.place.offset, rows=batch.place.rows, last=last)
                for _ in read_posts(path, xml_rows, ["jenkins"], posts, reading):
                    pass
                assert [one.number for one in posts.threads(0, 10**6)] == [number for number, _, _ in straight]


def test_damage_is_named_and_what_stands_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    write_dump(path, 200_000, wanted_share=1.0)
    whole = path.read_bytes()
    number = len(staged(path, tmp_path, ["jenkins"]))
    for damaged in (whole[: len(whole) // 2], whole[: len(whole) // 2] + b"\0" + whole[len(whole) // 2 :], whole[:-10]):
        path.write_bytes(damaged)
        with StagedPosts(tmp_path / "staged.sqlite", fresh=True) as posts:
            *_, end = read_posts(path, xml_rows, ["jenkins"], posts, Reading())
            assert "not well-formed" in end.damage
            assert number // 3 < len(posts.threads(0, 10**6)) <= number


def test_rows_without_a_number_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    path.write_text(
        '<posts>\n<row Id="x" Body="b"/>\n<row Body="b"/>\n<row Id="99999999999999999999" Body="b"/>\n</posts>\n'
    )
    with StagedPosts(tmp_path / "staged.sqlite", fresh=True) as posts:
        *_, end = read_posts(path, xml_rows, [], posts, Reading())
    assert end.damaged_rows == 3


@EXAMPLES
@given(
    data=st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            ["<posts>", "<row ", 'Id="1"', "/>", "<!DOCTYPE x>", "&x;", "\n", "</posts>", '<row Id="2" />\n']
        )
    )
    .map("".join)
    .map(str.encode)
)
def test_any_bytes_are_posts_or_a_reason(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "Posts.xml"
    path.write_bytes(data)
    for read in (xml_rows, csv_rows):
        try:
            for row in rows_of(path, read):
                try:
                    from_row(row)
                except Dropped as exc:
                    assert exc.reason.value == "entry-invalid"
        except (Dropped, SourceUnusable) as exc:
            assert str(exc)


def test_bombs_and_outside_entities_in_posts_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><posts><row Id="1" Body="&b;"/></posts>'
    outside = '<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><posts><row Id="1" Body="&x;"/></posts>'
    for text in (bomb, outside, f"<posts>\n{outside}"):
        path = tmp_path / "Posts.xml"
        path.write_text(text)
        with pytest.raises(Dropped, match=r"document type|not well-formed"):
            rows_of(path)
