"""Check Jenkinsfiles against the rules of Declarative Pipeline, without a controller.

Used by `jeeves lint`, and wherever a generated pipeline has to be judged (curation, evaluation).
"""

import re
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from jeeves_shared.jenkinsfile.brackets import find_gap
from jeeves_shared.jenkinsfile.catalog import Catalog, full_catalog
from jeeves_shared.jenkinsfile.code_rules import check_characters, check_code, check_secrets
from jeeves_shared.jenkinsfile.findings import Finding, Style, Verdict
from jeeves_shared.jenkinsfile.groovy_ast import GroovyParser, Node, ParsedFile, SyntaxFault
from jeeves_shared.jenkinsfile.pipeline_rules import check_pipeline
from jeeves_shared.jenkinsfile.report import Report

_UNEXPECTED = re.compile(r"unexpected token: [])}]$")
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
            findings = (_syntax_finding(fault, text) for fault in parsed.faults)
            return Verdict(name, "unparsable", tuple(sorted(findings)))
        report = Report(self._catalog, _own_names(parsed), _loads_library(parsed), _texts(parsed))
        style = _check_file(parsed, report)
        return Verdict(name, style, tuple(sorted(set(report.findings))))


def _syntax_finding(fault: SyntaxFault, text: str) -> Finding:
    at_end = fault.message.endswith(("found ''", "found '<EOF>'"))
    gap = find_gap(text, at_end=at_end) if at_end or _UNEXPECTED.search(fault.message) else None
    if gap is None:
        return Finding(min(fault.line, max(1, len(text.splitlines()))), fault.column, "syntax", fault.message)
    return Finding(gap.line, 1, "syntax", f"{gap.message} Groovy noticed it in line {fault.line}: {fault.message}")


def _check_file(parsed: ParsedFile, report: Report) -> Style:
    pipelines = [node for node in parsed.statements if _is_pipeline(node)]
    # A function of a shared library may hold whole pipelines; a Jenkinsfile that wraps one in a block does not work.
    in_functions = [
        node for function in parsed.functions for part in function.body for node in part.walk() if _is_pipeline(node)
    ]
    wrapped = [
        node for part in parsed.statements if part not in pipelines for node in part.walk() if _is_pipeline(node)
    ]
    for node in wrapped:
        report.add(node, "pipeline-not-at-top", 'The "pipeline" block must stand at the top level of the file.')
    for node in pipelines[1:]:
        report.add(node, "pipeline-twice", 'Only one "pipeline" block is allowed in a file.')
    for node in pipelines + in_functions:
        check_pipeline(node, report)
    for node in parsed.statements:
        if not any(_is_pipeline(part) for part in node.walk()):
            check_code(node, report)
    for function in parsed.functions:
        for node in function.body:
            # Methods may call what their class inherits, and a function of a library whatever it builds.
            if not any(_is_pipeline(part) for part in node.walk()):
                check_code(node, report, names=not function.in_class)
    bodies = (*parsed.statements, *(node for function in parsed.functions for node in function.body))
    check_secrets(bodies, report)
    check_characters(bodies, report)
    return "declarative" if pipelines or in_functions or wrapped else "scripted"


def _nodes(parsed: ParsedFile) -> Iterator[Node]:
    for body in (*parsed.statements, *(node for function in parsed.functions for node in function.body)):
        yield from body.walk()


def _texts(parsed: ParsedFile) -> frozenset[str]:
    texts = (node.value for node in _nodes(parsed) if node.kind in {"constant", "gstring"})
    return frozenset(text.split("=", 1)[0] for text in texts if isinstance(text, str))


def _own_names(parsed: ParsedFile) -> frozenset[str]:
    """Functions, parameters and variables: what the file itself may call."""
    names = {name for function in parsed.functions for name in (function.name, *function.parameters)}
    for node in _nodes(parsed):
        names.update(node.parameters)
        if node.kind == "declaration" or (node.kind == "binary" and node.operator == "="):
            left = node.children[0]
            names.update(
                part.name for part in (left, *left.arguments, *left.children) if part.kind == "variable" and part.name
            )
    return frozenset(names)


def _is_pipeline(node: Node) -> bool:
    return node.is_own_call and node.name == "pipeline"


def _loads_library(parsed: ParsedFile) -> bool:
    if any(name.endswith("Library") for name in parsed.annotations):
        return True
    nodes = (node for statement in parsed.statements for node in statement.walk())
    return any(node.is_own_call and node.name in _LIBRARY_SIGNS for node in nodes)
