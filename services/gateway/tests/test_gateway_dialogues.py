"""Follow-up questions are searched together with what they point back to; others are searched as they are."""

from pathlib import Path

import pytest
import yaml

from jeeves_gateway.history import search_text
from jeeves_gateway.openai_form import ChatMessage

DIALOGUES = yaml.safe_load((Path(__file__).parent / "dialogues.yaml").read_text(encoding="utf-8"))


def test_there_are_enough_dialogues() -> None:
    assert len(DIALOGUES) >= 20


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue["asked"][:30])
def test_follow_ups_stand_alone(dialogue: dict) -> None:
    said = [
        message
        for question in dialogue["before"]
        for message in (ChatMessage(role="user", content=question), ChatMessage(role="assistant", content="It is so."))
    ]
    searched = search_text([*said, ChatMessage(role="user", content=dialogue["asked"])])
    if dialogue.get("alone"):
        assert searched == dialogue["asked"]
    else:
        assert [word for word in dialogue["standalone"] if word.lower() not in searched.lower()] == []
