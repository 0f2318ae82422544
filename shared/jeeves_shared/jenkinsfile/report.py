"""Where the rules write what they find."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from jeeves_shared.jenkinsfile.catalog import Catalog, nearest
from jeeves_shared.jenkinsfile.findings import Finding, Severity
from jeeves_shared.jenkinsfile.groovy_ast import Node

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
"""Names of environment variables and axes."""

_GLOBALS = frozenset({"it", "this", "scm", "env", "params", "currentBuild", "docker", "pipeline", "steps", "manager"})
"""Variables that Jenkins and its plugins define."""


class Report:
    """The findings of one file, and what the rules need to judge it.

    Args:
        catalog: known names.
        own_names: functions of the file itself, which may be called like steps.
        loads_library: steps may come from a shared library that is not seen here.
        texts: strings of the file that may name a parameter or a variable: `variable: 'token'`, `'token=x'`.
    """

    def __init__(
        self,
        catalog: Catalog,
        own_names: frozenset[str] = frozenset(),
        loads_library: bool = False,
        texts: frozenset[str] = frozenset(),
    ) -> None:
        self.catalog = catalog
        self.own_names = own_names
        self.texts = texts
        self.loads_library = loads_library
        self.findings: list[Finding] = []

    def is_unheard_of(self, name: str) -> bool:
        """Whether a bare word can be neither a variable nor a parameter, as far as the file tells.

        Args:
            name: the word. Words in capitals may always be variables of the environment.
        """
        return not (name.isupper() or name in _GLOBALS or name in self.own_names or name in self.texts)

    def add(self, at: Node, rule: str, message: str, severity: Severity = "error") -> None:
        """One finding.

        Args:
            at: what is wrong; its position is reported.
            rule: stable name.
            message: for a person.
            severity: see `Finding`.
        """
        self.findings.append(Finding(max(1, at.line), max(1, at.column), rule, message, severity))

    def unknown(self, at: Node, rule: str, what: str, name: str, known: Iterable[str]) -> None:
        """A name that is not on the list, with the one that was probably meant, else the list."""
        known = sorted(known)
        meant = nearest(name, known)
        hint = f'did you mean "{meant}"?' if meant else f"known are {', '.join(known)}."
        self.add(at, rule, f'Unknown {what} "{name}"; {hint}')

    def repeated(self, nodes: Sequence[tuple[str, Node]], rule: str, what: str) -> None:
        """Names that may stand once only; reported at each further occurrence."""
        seen: Counter[str] = Counter()
        for name, node in nodes:
            seen[name] += 1
            if seen[name] > 1:
                self.add(node, rule, f'{what} "{name}" stands more than once.')


def statements_of(call: Node, what: str, report: Report) -> tuple[Node, ...] | None:
    """The statements of a section's block; None, and a finding, if it has no block.

    Args:
        call: the section.
        what: its name, for the message.
        report: where to write.
    """
    if call.block is None:
        report.add(call, "block-expected", f'"{what}" needs a block: {what} {{ … }}.')
        return None
    return call.block.children


def literal_name(node: Node) -> str | None:
    """The text of a string constant or of a bare word, which Declarative takes for one."""
    return node.name if node.kind == "variable" else node.text
