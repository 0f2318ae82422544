"""What a question nests in `post`, `when` and `agent` is checked before anything is quoted."""

import pytest

from jeeves_gateway.made_up_syntax import made_up_note
from jeeves_shared.measures.refusals import says_no


@pytest.mark.parametrize(
    ("question", "name", "offered"),
    [
        ("How do I use `post { skipped { } }` in a Declarative Pipeline?", "skipped", "`notBuilt`"),
        ("What is the syntax of `agent { firecracker { image } }`?", "firecracker", "`docker`"),
        ("when { weekday 'monday' } does nothing, why?", "weekday", "`expression`"),
        ("post {\n    finally {\n", "finally", "`always`"),
    ],
)
def test_what_does_not_exist_is_said(question: str, name: str, offered: str) -> None:
    note = made_up_note(question)
    assert f"`{name}`" in note and offered in note
    assert says_no(note), "counts as a correction"


def test_it_is_said_in_chinese() -> None:
    assert "没有 `skipped`" in made_up_note("如何使用 `post { skipped {} }`?")


@pytest.mark.parametrize(
    "question",
    [
        "Why does `post { always { junit } }` run twice?",
        "Does `when { beforeAgent true` belong to `when`?",
        "when { expression { params.RELEASE } }",
        "agent { kubernetes { yaml podTemplate } } hangs",
        "How do I send a post request with JSON { like this }?",
        "What is an agent {label}?",
    ],
)
def test_what_exists_or_is_no_block_is_left_alone(question: str) -> None:
    assert made_up_note(question) == ""
