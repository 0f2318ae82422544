"""Rules that need no file of their own: every name of the catalog, hostile texts, the command, the handbook."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jeeves_shared.jenkinsfile import JenkinsfileLinter, catalog_for, full_catalog, groovy_available
from jeeves_shared.jenkinsfile.catalog import Parameter

pytestmark = pytest.mark.skipif(not groovy_available(), reason="groovy is not installed: apt install groovy")

FRAME = """pipeline {
    agent any
%s
    stages {
        stage('One') {
            steps {
                %s
            }
        }
    }
}
"""


@pytest.fixture(scope="module")
def linter() -> Iterator[JenkinsfileLinter]:
    with JenkinsfileLinter() as linter:
        yield linter


def _rules(linter: JenkinsfileLinter, text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.rule) for finding in linter.check(text).findings]


VALUES = {"text": "'x'", "int": "3", "bool": "true", "list": "[]", "cron": "'@daily'", "object": "[]", "any": "[]"}
WRONG = {"text": "3", "int": "'x'", "bool": "'x'", "list": "'x'"}


def _right(parameter: Parameter) -> str:
    return f"'{parameter.choices[0]}'" if parameter.choices else VALUES[parameter.type]


def test_every_step_is_known_with_all_its_parameters_and_with_no_other(linter: JenkinsfileLinter) -> None:
    blocked = {"stage", "properties", "parallel", "script"}
    for step in full_catalog().steps.values():
        if step.free or step.name in blocked:
            continue
        block = " { echo 'x' }" if step.block else ""
        given_all = ", ".join(f"{p.name}: {_right(p)}" for p in step.parameters.values())
        assert _rules(linter, FRAME % ("", f"{step.name}({given_all}){block}")) == [], step.name
        other = ", ".join(filter(None, (given_all, "noSuchThing: 1")))
        if step.sole is None or step.sole.type != "object":
            assert _rules(linter, FRAME % ("", f"{step.name}({other}){block}")) == [(7, "unknown-parameter")], step.name
        for parameter in step.parameters.values():
            if parameter.type in WRONG:
                text = given_all.replace(
                    f"{parameter.name}: {_right(parameter)}", f"{parameter.name}: {WRONG[parameter.type]}", 1
                )
                assert (7, "parameter-type") in _rules(linter, FRAME % ("", f"{step.name}({text}){block}")), text
        if step.required and len(step.required) > 1:
            assert (7, "missing-parameter") in _rules(linter, FRAME % ("", f"{step.name}(){block}"))


def test_options_triggers_and_parameters_are_known_where_they_may_stand(linter: JenkinsfileLinter) -> None:
    catalog = full_catalog()
    for section, entries in (
        ("options", catalog.options),
        ("triggers", catalog.triggers),
        ("parameters", catalog.parameters),
    ):
        for entry in entries.values():
            if entry.free:
                continue
            all_of_them = ", ".join(f"{p.name}: {_right(p)}" for p in entry.parameters.values())
            text = FRAME % (f"    {section} {{\n        {entry.name}({all_of_them})\n    }}", "echo 'x'")
            assert _rules(linter, text) == [], entry.name


def test_steps_of_a_plugin_that_is_not_there_are_unknown() -> None:
    text = FRAME % ("", "slackSend message: 'x'")
    with JenkinsfileLinter(catalog_for({"workflow-aggregator", "slack"})) as linter:
        assert linter.check(text).findings == ()
    with JenkinsfileLinter(catalog_for({"workflow-aggregator"})) as linter:
        (finding,) = linter.check(text).findings
    assert (finding.rule, finding.severity) == ("unknown-step", "warning")


def test_a_secret_in_double_quotes_is_told(linter: JenkinsfileLinter) -> None:
    text = FRAME % ("    environment {\n        KEY = credentials('key')\n    }", 'sh "curl -u ${KEY_PSW} ${env.KEY}"')
    assert _rules(linter, text) == [(9, "secret-interpolated")] * 2
    assert _rules(linter, text.replace('"curl -u ${KEY_PSW} ${env.KEY}"', "'curl -u $KEY_PSW'")) == []


def test_functions_of_the_file_may_be_called(linter: JenkinsfileLinter) -> None:
    text = "def announce(String what) {\n    echo what\n}\n" + FRAME % ("", "announce('x')")
    assert _rules(linter, text) == []
    assert [rule for _, rule in _rules(linter, FRAME % ("", "announce('x')"))] == ["unknown-step"]


@pytest.mark.parametrize(
    "text",
    ["", "\ufeff", "}", "pipeline", "pipeline {}", "pipeline { agent }", "'" * 1000, "(" * 4000, "\ud800", "class A {}",
     "pipeline { stages { stage { steps } } }", "pipeline { agent { } ; stages { 1 ; 'a' ; [:] ; {} } ; post { } }",
     "pipeline { options { a.b() } ; triggers { 1 } ; tools { } ; parameters { x } ; when { } }"],
)  # fmt: skip
def test_no_text_breaks_it(text: str, linter: JenkinsfileLinter) -> None:
    linter.check(text)
    assert linter.check(FRAME % ("", "echo 'x'")).findings == (), "the parser still serves"


WORDS = st.sampled_from(
    ["pipeline", "agent", "any", "stages", "stage('a')", "steps", "post", "always", "when", "matrix", "axes", "axis",
     "{", "}", "{", "}", "\n", "echo 'x'", "sh", "'x'", "[a: 1]", "not", "expression", "environment", "A = 'b'", "(",
     ")", "${X}", "input", "options", "timeout(1)", "parallel", "script", "def x", ",", ":"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=40))
def test_any_mixture_of_words_gets_a_verdict(words: list[str], linter: JenkinsfileLinter) -> None:
    text = " ".join(words)
    for finding in linter.check(text).findings:
        assert finding.line >= 1
        assert finding.message


def _lint(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "jeeves", "lint", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=600)


def test_the_command_says_what_is_wrong_where(tmp_path: Path) -> None:
    right, wrong = tmp_path / "Right", tmp_path / "Wrong"
    right.write_text(FRAME % ("", "echo 'x'"), encoding="utf-8")
    wrong.write_text(FRAME % ("", "if (a) { echo 'x' }"), encoding="utf-8")
    assert _lint(right).returncode == 0
    done = _lint(right, wrong)
    assert done.returncode == 1
    assert f"{wrong}:7:" in done.stdout
    verdicts = json.loads(_lint("--json", right, wrong).stdout)
    assert [(verdict["style"], verdict["valid"]) for verdict in verdicts] == [
        ("declarative", True),
        ("declarative", False),
    ]
    assert verdicts[1]["findings"][0]["rule"] == "step-expected"
    missing = _lint(tmp_path / "Nowhere")
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr


def test_strict_and_plugins_and_standard_input(tmp_path: Path) -> None:
    text = FRAME % ("", "slackSend message: 'x'")
    plugins = tmp_path / "plugins.txt"
    plugins.write_text("workflow-aggregator:608.v67378e9d3db_1\n# slack\n", encoding="utf-8")
    assert _lint("-", stdin=text).returncode == 0
    assert _lint("--plugins", plugins, "-", stdin=text).returncode == 0
    assert _lint("--plugins", plugins, "--strict", "-", stdin=text).returncode == 1


CALLOUT = re.compile(r"\s*(?://|#)?\s*<(?:\d+|\.)>\s*$", re.MULTILINE)
BLOCK = re.compile(r"^(----|```)[^\n]*\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)

# Pages whose examples are no complete pipelines, and what each lacks. A change of the corpora shows up here.
INCOMPLETE = {
    ("development.adoc", "section-form"),  # an outline: `agent` without a value
    ("index.adoc", "section-empty"),  # comments instead of steps
    ("jenkinsfile.adoc", "agent-form"),  # a comment instead of an agent
    ("jenkinsfile.adoc", "syntax"),  # an address without quotes
    ("syntax.adoc", "section-missing"),  # the empty frame
}


@pytest.mark.corpora
def test_the_handbooks_declarative_examples(corpora: Path, linter: JenkinsfileLinter) -> None:
    valid, lacking = 0, set()
    for page in sorted((corpora / "docs.jenkins.io").rglob("*")):
        if page.suffix not in {".adoc", ".md"}:
            continue
        for match in BLOCK.finditer(page.read_text(encoding="utf-8", errors="replace")):
            if not re.search(r"^\s*pipeline\s*\{", match[2], re.MULTILINE):
                continue
            verdict = linter.check(CALLOUT.sub("", match[2]), page.name)
            valid += verdict.valid
            errors = [finding for finding in verdict.findings if finding.severity == "error"]
            lacking |= {(page.name, errors[0].rule)} if errors else set()
    assert valid >= 90
    assert lacking == INCOMPLETE
