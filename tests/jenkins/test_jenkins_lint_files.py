"""Whole Jenkinsfiles: each broken one is caught at its line, no correct one is flagged."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jeeves_shared.jenkinsfile import JenkinsfileLinter, Verdict, catalog_for, groovy_available, plugins_of

HERE = Path(__file__).parent / "lint"
BROKEN = sorted((HERE / "broken").glob("*.jenkinsfile"))
CORRECT = sorted((HERE / "correct").glob("*.jenkinsfile"))
MORE_BROKEN = re.findall(
    r"^=== (\S+) (\d+) (\S+)\n(.*?)(?=^=== |\Z)", (HERE / "broken.txt").read_text(encoding="utf-8"), re.M | re.S
)
MORE_CORRECT = re.findall(
    r"^=== (\S+)\n(.*?)(?=^=== |\Z)", (HERE / "correct.txt").read_text(encoding="utf-8"), re.M | re.S
)
LOADS_A_LIBRARY = ("shared-library", "libraries-directive")

pytestmark = pytest.mark.skipif(not groovy_available(), reason="groovy is not installed: apt install groovy")


@pytest.fixture(scope="module")
def linter() -> Iterator[JenkinsfileLinter]:
    with JenkinsfileLinter() as linter:
        yield linter


def _rules(verdict: Verdict) -> set[str]:
    return {finding.rule for finding in verdict.findings}


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 30
    assert len(CORRECT) >= 20
    assert len(MORE_BROKEN) >= 300
    assert len(MORE_CORRECT) >= 70


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_file_is_caught_at_its_line(path: Path, linter: JenkinsfileLinter) -> None:
    text = path.read_text(encoding="utf-8")
    expected = [
        (number, found[1])
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(r"// wrong: (\S+)", line))
    ]
    verdict = linter.check(text, path.name)
    assert not verdict.valid
    assert [(finding.line, finding.rule) for finding in verdict.findings[:1]] == expected
    assert len(verdict.findings) <= 2, verdict.findings


@pytest.mark.parametrize("path", CORRECT, ids=lambda path: path.stem)
def test_a_correct_file_is_not_flagged(path: Path, linter: JenkinsfileLinter) -> None:
    verdict = linter.check(path.read_text(encoding="utf-8"), path.name)
    assert verdict.valid, verdict.findings
    # Only a file that loads a library may call what no plugin gives.
    assert verdict.findings == () or (path.stem in LOADS_A_LIBRARY and not _rules(verdict) - {"unknown-step"})


@pytest.mark.parametrize(("name", "line", "rule", "text"), MORE_BROKEN, ids=[one[0] for one in MORE_BROKEN])
def test_what_people_get_wrong_is_caught(name: str, line: str, rule: str, text: str, linter: JenkinsfileLinter) -> None:
    errors = [finding for finding in linter.check(text, name).findings if finding.severity == "error"]
    assert [(finding.line, finding.rule) for finding in errors[:1]] == [(int(line), rule)]
    assert len(errors) <= 3, errors


@pytest.mark.parametrize(("name", "text"), MORE_CORRECT, ids=[one[0] for one in MORE_CORRECT])
def test_other_styles_are_not_flagged(name: str, text: str, linter: JenkinsfileLinter) -> None:
    assert linter.check(text, name).valid, linter.check(text, name).findings
    assert linter.check(text.replace("\n", "\r\n"), name).valid, "with the line ends of Windows"


def test_the_projects_own_jenkinsfile_needs_no_other_plugin(repository: Path) -> None:
    plugins = plugins_of((repository / "deploy/jenkins/plugins.txt").read_text(encoding="utf-8"))
    with JenkinsfileLinter(catalog_for(plugins)) as linter:
        assert linter.check((repository / "Jenkinsfile").read_text(encoding="utf-8")).findings == ()
