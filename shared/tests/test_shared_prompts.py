"""The one prompt of training, evaluation and serving."""

import pytest

from jeeves_shared.contracts.documents import Passage
from jeeves_shared.contracts.prompts import (
    PASSAGE_CHARACTERS,
    PROMPT_SHA256,
    SYSTEM_PROMPT,
    Message,
    build_messages,
    neutralize_control_tokens,
    passage_text,
    render_sources,
)


def passage(title: str, section: str, text: str) -> Passage:
    return Passage(section_id="1", source_path="a", url="", title=title, section=section, text=text, licence="")


def test_rendering() -> None:
    messages = build_messages(
        "  How do I bind a secret?\n",
        [
            passage("Using credentials", "Handling secrets", "Bind it with `withCredentials`."),
            passage("Pipeline syntax", "Pipeline syntax", "Text before the first heading."),
        ],
        [Message(role="user", content="Hello"), Message(role="assistant", content="Hello.")],
    )
    assert messages == [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {
            "role": "user",
            "content": (
                "Sources:\n"
                "[1] Using credentials › Handling secrets\nBind it with `withCredentials`.\n\n"
                "[2] Pipeline syntax\nText before the first heading.\n\n"
                "Question: How do I bind a secret?"
            ),
        },
    ]


def test_closed_book_is_the_question_alone() -> None:
    assert build_messages("Why?", [])[1:] == [{"role": "user", "content": "Why?"}]


def test_system_message_never_changes_so_that_the_engine_keeps_its_cache() -> None:
    assert build_messages("a", [])[0] == build_messages("b", [passage("T", "S", "x")])[0]


def test_only_the_best_passages_are_used() -> None:
    many = [passage("T", f"S{number}", "x") for number in range(9)]
    content = build_messages("q", many)[-1]["content"]
    assert "[3] T › S2" in content
    assert "S3" not in content
    assert "[2]" not in build_messages("q", many, passage_limit=1)[-1]["content"]


@pytest.mark.parametrize(
    ("token", "harmless"),
    [
        ("<|im_start|>", "‹ im_start ›"),
        ("<|im_end|>", "‹ im_end ›"),
        ("<|endoftext|>", "‹ endoftext ›"),
        ("<|eot_id|>", "‹ eot_id ›"),
        ("[INST]", "(INST)"),
        ("[/INST]", "(/INST)"),
        ("<<SYS>>", "‹‹SYS››"),
        ("</s>", "‹/s›"),
        ("<start_of_turn>", "‹start_of_turn›"),
    ],
)
def test_control_tokens_lose_their_meaning_and_stay_readable(token: str, harmless: str) -> None:
    assert neutralize_control_tokens(f"before {token}system after") == f"before {harmless}system after"
    assert neutralize_control_tokens(harmless) == harmless
    attack = f"ok{token}"
    rendered = build_messages(
        attack,
        [passage(attack, attack, attack)],
        [Message(role="user", content=attack), Message(role="assistant", content=attack)],
    )
    assert all(token not in message["content"] for message in rendered)
    assert token not in render_sources([passage("T", attack, attack)])


@pytest.mark.parametrize("text", ["a < b | c > d", "x[0]", "sh 'a | b'", "<span>", "List<String>", "stage('x') { }"])
def test_ordinary_code_is_left_alone(text: str) -> None:
    assert neutralize_control_tokens(text) == text


def test_short_passage_is_kept() -> None:
    assert passage_text("  text\n") == "text"


def test_long_passage_is_cut_at_a_line() -> None:
    text = "\n".join(f"line {number}" for number in range(500))
    cut = passage_text(text)
    assert len(cut) <= PASSAGE_CHARACTERS
    assert cut.splitlines() == text.splitlines()[: len(cut.splitlines())]


def test_cut_closes_an_open_fence() -> None:
    code = "\n".join(f"    echo '{number}'" for number in range(200))
    cut = passage_text(f"Example:\n```groovy\n{code}\n```\nEnd.")
    assert cut.count("```") == 2
    assert cut.endswith("\n```")


def test_cut_outside_of_a_fence_adds_none() -> None:
    cut = passage_text("```groovy\necho 1\n```\n" + "word " * 400)
    assert cut.count("```") == 2
    assert not cut.endswith("```")


def test_one_endless_line_is_cut_too() -> None:
    assert len(passage_text("x" * 5000)) == PASSAGE_CHARACTERS


def test_rules_are_pinned() -> None:
    """Models and data sets carry this hash, and the gateway refuses models that were trained with other rules.

    If you changed the rules on purpose: put the new hash here, note it in CHANGELOG.md under Changed ("prompt rules:
    data sets and models have to be made again"), and run the loop again. If not: undo what changed the prompt.
    """
    assert PROMPT_SHA256 == "f171041b7e7a1d546967260800129adabf93559b884624e91e45645ee1f31626"
