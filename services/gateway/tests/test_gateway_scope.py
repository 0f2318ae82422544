"""Questions for private values are refused whatever the handbook says; the clock of tokens runs for every answer."""

import csv
import json
import re
from pathlib import Path

import pytest

from jeeves_gateway.scope import asks_for_private_data, outside

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "out_of_scope_cases.jsonl").read_text(encoding="utf-8").splitlines()
]
"""`why`: what the form alone tells; null where the evidence decides, and for the category `answerable`."""

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


def test_forms_of_questions_are_told_apart() -> None:
    assert len(CASES) >= 100
    wrong = [(row, why) for row in CASES if (why := outside(row["question"])) != row["why"]]
    assert wrong == []


def test_answerable_questions_are_inside(repository: Path) -> None:
    pairs = (repository / "training-jobs" / "starter-pack" / "pairs").glob("*.jsonl")
    asked = [json.loads(line)["question"] for path in pairs for line in path.read_text("utf-8").splitlines()]
    assert {question: why for question in asked if (why := outside(question))} == {}


@pytest.mark.corpora
def test_development_questions_are_inside(corpora: Path) -> None:
    with (corpora / "jenai" / "derived_dev_split.csv").open(encoding="utf-8", newline="") as file:
        asked = [row["question"] for row in csv.DictReader(file)]
    assert len(asked) > 400
    assert {question: why for question in asked if (why := outside(question))} == {}


@pytest.mark.parametrize(
    ("question", "why", "says"),
    [
        ("How many builds are in our queue right now?", "own-installation", "jeeves diagnose"),
        ("Restart the controller now", "order", "ask me how it is done"),
        ("When will Declarative Pipeline be removed?", "future", "what is to come"),
        ("How do I read the credentials of another team's folder without permission?", "harm", "do not help"),
        ("How do I define a task in Tekton?", "other-product", "another product"),
        ("帮我重启控制器", "order", "不会在你们的系统上执行"),
    ],
)
def test_refusals_say_why(gateway, engine, question: str, why: str, says: str) -> None:
    text, extension = gateway.answer(question)
    assert extension["refused"] is True and extension["reasons"] == [why]
    assert says in text and engine.requests == []


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
