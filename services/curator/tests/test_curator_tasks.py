"""Task families: what is made of the code and logs of pages, and that the validator agrees."""

import re
from typing import Any

import pytest

from jeeves_curator.pipelines import as_declarative, described, in_sentences
from jeeves_curator.sections import split_document
from jeeves_curator.tasks import task_pairs
from jeeves_shared.contracts.documents import Pair
from jeeves_shared.jenkinsfile import JenkinsfileLinter

Bench = Any
DECLARATIVE = """\
pipeline {
    agent { label 'linux' }
    options { timestamps() }
    stages {
        stage('Build') {
            steps { sh 'make -j2 { all' }
        }
        stage('Report') {
            when { branch 'main' }
            input { message 'Report now?' }
            steps {
                junit 'out/*.xml'
                archiveArtifacts artifacts: 'out/**'
            }
        }
    }
    post {
        failure { echo 'It is broken.' }
    }
}"""
SCRIPTED = """\
// It isn't "broken" }
node('linux && arm') {
    stage('Build { it') {
        sh 'echo } && make'
        echo "done }"
    }
    stage('Test') {
        dir('tests') {
            sh './run'
        }
    }
}"""
WRONG = DECLARATIVE.replace("stages {", "stagges {", 1)
PAGE = f"""\
# Pipelines by example

An introduction.

## Build and report

Build on Linux, and report what the tests said.

```groovy
{DECLARATIVE}
```

## With a mistake

```groovy
{WRONG}
```

## Scripted

```groovy
{SCRIPTED}
```

## The agent goes away

The error appears when the agent loses its connection, because the network drops idle connections. Ping more often.

```text
java.io.IOException: Unexpected termination of the channel
ERROR: agent went offline
```
"""
FAMILIES = ("write", "explain", "convert", "log")


@pytest.fixture(scope="module")
def linter() -> Any:
    with JenkinsfileLinter() as opened:
        yield opened


def made(bench: Bench, text: str, limit: int = 10) -> dict[str, list[Pair]]:
    document = bench.document("src/examples.md", "Pipelines by example", text)
    found: dict[str, list[Pair]] = {}
    for pair in task_pairs([(document, split_document(document, 1800, 40))], FAMILIES, limit, 1):
        found.setdefault(pair.id.split("-")[1], []).append(pair)
    return found


def code(text: str) -> str:
    match = re.search(r"```groovy\n(.*?)\n```", text, re.DOTALL)
    assert match
    return match.group(1)


def test_each_family_is_made_once_from_what_the_validator_accepts(bench: Bench, linter: JenkinsfileLinter) -> None:
    found = made(bench, PAGE)
    assert {family: len(pairs) for family, pairs in found.items()} == dict.fromkeys(FAMILIES, 1)
    [write], [explain], [convert], [log] = (found[family] for family in FAMILIES)
    assert code(write.answer) == DECLARATIVE
    for part in (
        "`linux`",
        "the stages Build and Report",
        "runs `make -j2 { all`",
        "on `failure`",
        "sets `options` to `timestamps()`",
    ):
        assert part in write.question
    assert code(explain.question) == DECLARATIVE
    for part in (
        "`linux`",
        "Stage Report: only when `branch 'main'`; asks a person “Report now?” first; calls `junit` with `out/*.xml`",
        "prints “It is broken.”",
    ):
        assert part in explain.answer
    assert code(convert.question) == SCRIPTED
    verdict = linter.check(code(convert.answer))
    assert (verdict.style, verdict.valid) == ("declarative", True)
    assert "because the network drops" in log.answer
    assert "Unexpected termination" in log.question


def test_a_pipeline_in_both_forms_is_a_conversion_by_its_author(bench: Bench) -> None:
    scripted = "node {\n    def made = sh(script: 'make', returnStdout: true)\n    echo \"$made\"\n}"
    text = (
        f"# Both\n\nIn both forms.\n\n```groovy\n// Declarative //\n{DECLARATIVE}\n// Script //\n```\n\n"
        f"```groovy\n// Declarative //\n// Script //\n{scripted}\n```\n"
    )
    [convert] = made(bench, text)["convert"]
    assert (code(convert.question), code(convert.answer)) == (scripted, DECLARATIVE)


def test_steps_without_a_stage_get_one(linter: JenkinsfileLinter) -> None:
    done = as_declarative(plain := "node('arm') {\n    checkout scm\n    sh 'make'\n}", linter.parse(plain))
    assert done
    pipeline = described(done, linter.parse(done))
    assert pipeline
    assert [stage.steps for stage in pipeline.stages] == [("checks out the sources with `checkout`", "runs `make`")]


@pytest.mark.parametrize(
    "flaw",
    [
        "/* WRONG! */ sh 'make'",
        "sh 'make' // this fails",
        "...",
        'withCredentials([string(credentialsId: "a", variable: "TOKEN")]) { sh "curl -H $TOKEN https://x" }',
    ],
)
def test_what_a_page_warns_of_is_no_answer(bench: Bench, flaw: str) -> None:
    shown = DECLARATIVE.replace("sh 'make -j2 { all'", flaw)
    assert made(bench, f"# Page\n\nAn introduction to it.\n\n```groovy\n{shown}\n```\n") == {}


def test_when_conditions_are_looked_at_is_no_condition(linter: JenkinsfileLinter) -> None:
    text = DECLARATIVE.replace("when { branch 'main' }", "when {\n beforeAgent true\n branch 'main'\n}").replace(
        "sh 'make -j2 { all'", "bat 'make.cmd'"
    )
    parameter = (
        "string(name: 'TARGET', defaultValue: 'all', description: 'What is to be made of all that the file has')"
    )
    text = text.replace("options { timestamps() }", f"parameters {{\n {parameter}\n }}")
    pipeline = described(text, linter.parse(text))
    assert pipeline
    assert "only when `branch 'main'`, which is decided before it takes an agent" in pipeline.requirement
    assert "beforeAgent" not in pipeline.requirement
    assert "runs `make.cmd` with `bat`" in pipeline.requirement
    assert f"sets `parameters` to `{parameter}`" in pipeline.requirement


@pytest.mark.parametrize(
    "step", ["script { def all = ['a', 'b']; for (one in all) { echo one } }", "script { if (params.X) { echo 'x' } }"]
)
def test_code_among_the_steps_is_not_told(step: str, linter: JenkinsfileLinter) -> None:
    for text in (DECLARATIVE.replace("sh 'make -j2 { all'", step), DECLARATIVE.replace("echo 'It is broken.'", step)):
        assert described(text, linter.parse(text)) is None


@pytest.mark.parametrize(
    "part", ["parallel { stage('x') { steps { echo 'x' } } }", "stages { stage('x') { steps { echo 'x' } } }"]
)
def test_what_cannot_be_told_in_a_few_words_is_not_told(part: str, linter: JenkinsfileLinter) -> None:
    text = (
        f"pipeline {{\n    agent any\n    stages {{\n        stage('A') {{\n            {part}\n        }}\n    }}\n}}"
    )
    assert described(text, linter.parse(text)) is None


def test_a_scripted_pipeline_keeps_its_steps_word_for_word(linter: JenkinsfileLinter) -> None:
    done = as_declarative(SCRIPTED, linter.parse(SCRIPTED))
    assert done
    assert "agent { label 'linux && arm' }" in done
    steps = [
        node for node in linter.parse(done).statements[0].walk() if node.is_own_call and node.name in ("sh", "dir")
    ]
    assert sorted(step.plain_arguments[0].text for step in steps) == ["./run", "echo } && make", "tests"]
    pipeline = described(done, linter.parse(done))
    assert pipeline
    assert [stage.name for stage in pipeline.stages] == ["Build { it", "Test"]
    assert "runs `echo } && make`" in in_sentences(pipeline)


@pytest.mark.parametrize(
    "text",
    [
        "node { stage('A') { def x = 1\n sh \"run $x\" } }",
        "node { stage('A') { if (true) { sh 'a' } } }",
        "node {\n stage('A') { sh 'a' }\n sh 'outside'\n}",
        "node { stage('A') { parallel(a: { sh 'a' }) } }",
        "stage('A') { node { sh 'a' } }",
    ],
)
def test_what_needs_a_person_is_not_converted(text: str, linter: JenkinsfileLinter) -> None:
    assert as_declarative(text, linter.parse(text)) is None


def test_the_limit_holds_and_the_draw_repeats(bench: Bench) -> None:
    text = "# Many\n\n" + "\n\n".join(
        f"## Case {number}\n\nOn Linux.\n\n```groovy\n{DECLARATIVE.replace('Build', f'Build {number}')}\n```"
        for number in range(6)
    )
    first, again = made(bench, text, 4), made(bench, text, 4)
    assert {family: len(pairs) for family, pairs in first.items()} == {"write": 4, "explain": 4}
    assert first == again


def test_task_pairs_go_through_all_steps(bench: Bench) -> None:
    documents, pairs = bench.library()
    page = bench.document("src/pipelines/examples.md", "Pipelines by example", PAGE)
    without = bench.dataset(bench.collection([*documents, page], pairs))
    manifest = bench.dataset(bench.collection([*documents, page], pairs), task_families=FAMILIES)
    assert manifest.id != without.id
    rows = b"".join(bench.store.read_bytes(ref) for ref in (manifest.train, manifest.evaluation)).decode()
    kept = set(re.findall(r'"id":"task-(\w+)-', rows))
    assert kept >= {"write", "explain", "log"}
    assert manifest.pairs_kept == without.pairs_kept + len(kept)
