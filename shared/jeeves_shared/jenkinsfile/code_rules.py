"""Groovy that is not Declarative: `script` blocks, functions, Scripted Pipeline. And what holds in all of a file."""

from jeeves_shared.jenkinsfile.argument_rules import check_arguments
from jeeves_shared.jenkinsfile.catalog import misspelling_of
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import Report, literal_name

_SHELL_STEPS = frozenset({"sh", "bat", "powershell", "pwsh"})
PIPELINE_WORDS = frozenset({"triggers", "parameters", "libraries"})
"""Sections of `pipeline` alone."""

_SECTION_WORDS = PIPELINE_WORDS | {
    "agent", "environment", "options", "tools", "when", "stages", "steps", "matrix", "axes", "post",
}  # fmt: skip
_TYPOGRAPHIC_QUOTES = "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb"


def is_section(call: Node) -> bool:
    """Whether a call is a section of Declarative Pipeline, which no plugin gives as a step."""
    if call.name not in _SECTION_WORDS:
        return False
    return (call.name == "agent" and len(call.arguments) == 1) or (call.block is not None and not call.plain_arguments)


def check_code(block: Node, report: Report, *, names: bool = True) -> None:
    """Calls of known steps have known parameters; what is nearly the name of a step is told.

    Args:
        block: the closure, or any node.
        report: where to write.
        names: judge names that nobody knows; they are not judged inside the blocks of such, which may define words.
    """
    waiting = [(block, names)]
    while waiting:
        node, judged = waiting.pop()
        if node.is_own_call and node.name is not None and node.name not in report.own_names:
            entry = report.catalog.steps.get(node.name) or report.catalog.objects.get(node.name)
            if entry is not None:
                check_arguments(node, entry, "step", report)
            else:
                judged = judged and _known_block(node, node.name, report)
        parts = [node.target] if node.target is not None else []
        parts += [*node.arguments, *node.children, *(part for entry in node.entries for part in entry)]
        waiting += [(part, judged) for part in parts]


def _known_block(call: Node, name: str, report: Report) -> bool:
    """Report a call that no step answers; whether its block is ordinary code."""
    if is_section(call):
        report.add(
            call, "section-in-script", f'"{name}" is a word of Declarative Pipeline and works in "pipeline" only.'
        )
        return False
    meant = misspelling_of(name, [*report.catalog.steps, "pipeline"])
    if meant is not None and not report.loads_library:
        report.add(call, "unknown-step", f'Unknown step "{name}"; did you mean "{meant}"?')
    return call.block is None


def check_characters(statements: tuple[Node, ...], report: Report) -> None:
    """Quotes of a word processor: Groovy takes them for letters of a name.

    Args:
        statements: of the file.
        report: where to write.
    """
    for node in (part for statement in statements for part in statement.walk()):
        if node.kind in {"variable", "call", "property"} and any(one in _TYPOGRAPHIC_QUOTES for one in node.name or ""):
            report.add(node, "typographic-quotes", f"{node.name} stands in typographic quotes: use ' or \".")


def check_secrets(statements: tuple[Node, ...], report: Report) -> None:
    """Secrets that Groovy would put into a shell line: visible in the process list, and past Jenkins' masking.

    Args:
        statements: of the file.
        report: where to write.
    """
    nodes = [node for statement in statements for node in statement.walk()]
    secrets = _secret_names(nodes)
    for node in nodes:
        if not node.is_own_call or node.name not in _SHELL_STEPS:
            continue
        for text in (part for argument in node.arguments for part in argument.walk() if part.kind == "gstring"):
            used = {part.name for value in text.children for part in value.walk() if part.name}
            for name in sorted(used & secrets):
                report.add(
                    text,
                    "secret-interpolated",
                    f"The secret {name} gets into the shell line in clear: use single quotes, the shell reads it.",
                    "warning",
                )


def _secret_names(nodes: list[Node]) -> set[str]:
    names: set[str | None] = set()
    for node in nodes:
        if node.kind == "binary" and node.operator == "=" and node.children[1].name == "credentials":
            name = literal_name(node.children[0])
            names |= {name, f"{name}_PSW", f"{name}_USR"}
        if node.is_own_call and node.name == "withCredentials":
            parts = (part for argument in node.plain_arguments for part in argument.walk())
            names |= {value.text for part in parts for key, value in part.entries if _names_a_secret(key)}
    return {name for name in names if name}


def _names_a_secret(key: Node) -> bool:
    name = literal_name(key) or ""
    return name.lower().endswith("variable") and name != "usernameVariable"
