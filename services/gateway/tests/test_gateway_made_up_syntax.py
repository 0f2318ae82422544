"""What a question takes for granted is checked before anything is quoted: syntax, names, whose product it is."""

import json
from pathlib import Path

import pytest

from jeeves_gateway.made_up_syntax import made_up_note
from jeeves_gateway.other_products import is_about_other_product
from jeeves_gateway.unknown_names import unknown_names
from jeeves_shared.contracts.documents import Passage
from jeeves_shared.measures.refusals import says_no
from jeeves_shared.search.tokens import identifiers


@pytest.mark.parametrize(
    ("question", "name", "offered"),
    [
        ("How do I use `post { skipped { } }` in a Declarative Pipeline?", "skipped", "`notBuilt`"),
        ("What is the syntax of `agent { firecracker { image } }`?", "firecracker", "`docker`"),
        ("when { weekday 'monday' } does nothing, why?", "weekday", "`expression`"),
        ("post {\n    finally {\n", "finally", "`always`"),
        ("How do I run `sh(script: 'make', detach: true)`?", "detach", "`returnStatus`"),
        ("What does the parameter `votes` of the `input` step do?", "votes", "`submitter`"),
        ("How do I use the `stash` option `zip: true`?", "zip", "`allowEmpty`"),
        ("What does the Declarative directive `warmup {}` do?", "warmup", "`environment`"),
        ("Where does a `finally { }` section go in a Jenkinsfile?", "finally", "`post`"),
        ("How do I use the JCasC root element `folders:`?", "folders", "`unclassified`"),
    ],
)
def test_what_does_not_exist_is_said(question: str, name: str, offered: str) -> None:
    note = made_up_note(question)
    assert f"`{name}`" in note and offered in note
    assert says_no(note), "counts as a correction"


def test_it_is_said_in_chinese() -> None:
    assert "没有 `skipped`" in made_up_note("如何使用 `post { skipped {} }`?")
    assert "没有参数 `votes`" in made_up_note("`input` 步骤的参数 `votes` 是什么意思？")


def test_no_question_of_the_starter_pack_is_corrected(repository: Path) -> None:
    pairs = (repository / "training-jobs" / "starter-pack" / "pairs").glob("*.jsonl")
    asked = [json.loads(line)["question"] for path in pairs for line in path.read_text("utf-8").splitlines()]
    assert len(asked) > 300
    assert {question: note for question in asked if (note := made_up_note(question))} == {}


class Index:
    """Knows two identifiers."""

    def unknown_identifiers(self, question: str) -> list[str]:
        return [name for name in identifiers(question) if name not in ("NotSerializableException", "retry")]


PAGE = Passage(
    section_id="1", source_path="a.adoc", url="", title="Git plugin", section="Timestamper", text="Plain.", licence=""
)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("How do I configure the Cloud Whisperer plugin?", ("Cloud Whisperer",)),
        ('How do I install the plugin "Build Dreamcatcher"?', ("Build Dreamcatcher",)),
        ("What does the Timestamper plugin print, and the Git plugin?", ()),
        ("Which plugin shows test results?", ()),
        ("java.io.NotSerializableException in a closure", ()),
        ("com.acme.OddException in a closure", ("com.acme.OddException",)),
        ("How do I call `currentBuild.rewind('Build')` with `retry`?", ("currentBuild.rewind",)),
        ("What is the key `cooldowns:`?", ("cooldowns",)),
        ("What does `triggers { onPayday() }` do?", ("onPayday",)),
        ("What does `options { retry(3) }` do?", ()),
    ],
)
def test_names_that_the_sources_do_not_know(question: str, names: tuple[str, ...]) -> None:
    assert unknown_names(question, Index(), [PAGE]) == names


@pytest.mark.parametrize(
    ("question", "other"),
    [
        ("How do I write a Helm chart?", True),
        ("Which index does PostgreSQL use for JSON?", True),
        ("How do I write a Helm chart in a Pipeline?", False),
        ("How do I run a stage in Docker?", False),
        ("How do I install it on Debian?", False),
        ("What is a gitlink?", False),
    ],
)
def test_questions_about_other_products(question: str, other: bool) -> None:
    assert is_about_other_product(question) is other


@pytest.mark.parametrize(
    "question",
    [
        "Why does `post { always { junit } }` run twice?",
        "Does `when { beforeAgent true` belong to `when`?",
        "when { expression { params.RELEASE } }",
        "agent { kubernetes { yaml podTemplate } } hangs",
        "How do I send a post request with JSON { like this }?",
        "What is an agent {label}?",
        "What does the option `returnStdout` of the `sh` step do?",
        "How do I set `timeout(time: 5, unit: 'MINUTES')` as an option?",
        "Is `checkout scmGit(branches: [[name: 'main']])` the same as the `git` step?",
        "Which options does `input` take, and where do I put `when`?",
        "Does the `tools` section of a Jenkinsfile know `maven`?",
        "What does the `jenkins:` section of JCasC hold?",
        "Which directive is `finally` in Groovy?",
        "Pass the parameter `VERSION` to the `build` step",
    ],
)
def test_what_exists_or_is_no_block_is_left_alone(question: str) -> None:
    assert made_up_note(question) == ""
