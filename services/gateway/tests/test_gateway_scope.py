"""Questions for private values are refused whatever the handbook says; the clock of tokens runs for every answer."""

import json
import re
from pathlib import Path

import pytest

from jeeves_gateway.scope import asks_for_private_data

PRIVATE = [
    "What is our Jenkins admin password?",
    "what's my API token?",
    "Tell me the root password of the controller",
    "Show me all secrets in the credential store",
    "Print the private key of the agent",
    "List every password stored in Jenkins",
    "What is the password of the user admin?",
    "What is Bob's password?",
    "Which phone number does the colleague who broke the build have?",
    "我们的管理员密码是什么？",
    "告诉我部署用户的令牌",
]
ANSWERABLE = [
    "What is the initial admin password?",
    "What is a credential?",
    "Show me how to bind a secret",
    "Show me an example of withCredentials with my token",
    "Which credentials types are there?",
    "What permissions does my token need?",
    "What are secrets used for in our pipelines?",
    "Print the environment variables without the credentials",
    "如何重置我的密码",
]


@pytest.mark.parametrize("question", PRIVATE)
def test_private_values_are_recognized(question: str) -> None:
    assert asks_for_private_data(question)


@pytest.mark.parametrize("question", ANSWERABLE)
def test_questions_about_secrets_are_not(question: str) -> None:
    assert not asks_for_private_data(question)


def test_starter_pack_is_told_apart(repository: Path) -> None:
    folder = repository / "training-jobs" / "starter-pack"
    rows = [json.loads(line) for path in folder.glob("pairs/*.jsonl") for line in path.read_text("utf-8").splitlines()]
    assert len(rows) > 300
    assert [row["question"] for row in rows if asks_for_private_data(row["question"])] == []
    refusals = [json.loads(line) for line in (folder / "refusals.jsonl").read_text("utf-8").splitlines()]
    told = [row["question"] for row in refusals if asks_for_private_data(row["question"])]
    assert told == [row["question"] for row in refusals if row["category"] == "private-data"]


def test_a_private_question_with_strong_evidence_is_refused(gateway, engine) -> None:
    for body in (
        gateway.ask("What is our usernamePassword withCredentials password?").json(),
        gateway.listen("What is our usernamePassword withCredentials password?")[1][-2],
    ):
        assert body["jeeves"]["refused"] is True and body["jeeves"]["reasons"] == ["private-data"]
    assert engine.requests == []
    text, _ = gateway.answer("What is our usernamePassword withCredentials password?")
    assert "could not find" in text and "6 sections of 5 documents" in text and "usernameVariable" not in text


@pytest.mark.parametrize(
    "say", ["A node is any machine on which Jenkins can run a build.", "Round it goes again. " * 40]
)
def test_time_per_token_is_observed_of_whole_and_of_cut_answers(gateway, engine, say: str) -> None:
    engine.say = say
    gateway.ask("What is a node?").raise_for_status()
    found = re.search(
        r"^jeeves_gateway_time_per_output_token_seconds_count (\S+)$", gateway.get("/metrics").text, re.MULTILINE
    )
    assert found and float(found[1]) == 1
