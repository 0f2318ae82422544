"""Check Jenkinsfiles against the rules of Declarative Pipeline, without a controller.

Used by `jeeves lint`, and wherever a generated pipeline has to be judged (curation, evaluation).
"""

from types import TracebackType
from typing import Self

from jeeves_shared.jenkinsfile.catalog import Catalog, full_catalog
from jeeves_shared.jenkinsfile.findings import Finding, Style, Verdict
from jeeves_shared.jenkinsfile.groovy_ast import GroovyParser, Node, ParsedFile
from jeeves_shared.jenkinsfile.pipeline_rules import check_pipeline
from jeeves_shared.jenkinsfile.report import Report
from jeeves_shared.jenkinsfile.step_rules import check_code, check_secrets

_LIBRARY_SIGNS = frozenset({"library", "libraries", "load"})


class JenkinsfileLinter:
    """Checks file after file with one parser process; a context manager.

    Args:
        catalog: what the controller offers; everything that is known when not given.
    """

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog or full_catalog()
        self._parser = GroovyParser()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parser.close()

    def parse(self, text: str) -> ParsedFile:
        """The syntax tree of a file, for those who need more than a verdict; raises like `check`."""
        return self._parser.parse(text)

    def check(self, text: str, name: str = "Jenkinsfile") -> Verdict:
        """Check one file.

        Args:
            text: of the file.
            name: for the verdict.

        Raises:
            GroovyMissing: Groovy or Java is not installed.
            GroovyFailed: the parser did not answer.
        """
        parsed = self._parser.parse(text)
        if parsed.faults:
            findings = (Finding(fault.line, fault.column, "syntax", fault.message) for fault in parsed.faults)
            return Verdict(name, "unparsable", tuple(sorted(findings)))
        report = Report(self._catalog, frozenset(function for function, _ in parsed.functions), _loads_library(parsed))
        style = _check_file(parsed, report)
        return Verdict(name, style, tuple(sorted(set(report.findings))))


def _check_file(parsed: ParsedFile, report: Report) -> Style:
    pipelines = [node for node in parsed.statements if _is_pipeline(node)]
    # A function of a shared library may hold whole pipelines; a Jenkinsfile that wraps one in a block does not work.
    in_functions = [node for _, body in parsed.functions for part in body for node in part.walk() if _is_pipeline(node)]
    wrapped = [
        node for part in parsed.statements if part not in pipelines for node in part.walk() if _is_pipeline(node)
    ]
    for node in wrapped:
        report.add(node, "pipeline-not-at-top", 'The "pipeline" block must stand at the top level of the file.')
    for node in pipelines[1:]:
        report.add(node, "pipeline-twice", 'Only one "pipeline" block is allowed in a file.')
    for node in pipelines + in_functions:
        check_pipeline(node, report)
    bodies = [*parsed.statements, *(node for _, body in parsed.functions for node in body)]
    for node in bodies:
        if not any(_is_pipeline(part) for part in node.walk()):
            check_code(node, report)
    check_secrets(tuple(bodies), report)
    return "declarative" if pipelines or in_functions or wrapped else "scripted"


def _is_pipeline(node: Node) -> bool:
    return node.is_own_call and node.name == "pipeline"


def _loads_library(parsed: ParsedFile) -> bool:
    if any(name.endswith("Library") for name in parsed.annotations):
        return True
    nodes = (node for statement in parsed.statements for node in statement.walk())
    return any(node.is_own_call and node.name in _LIBRARY_SIGNS for node in nodes)
