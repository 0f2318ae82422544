"""The sections that may stand in a pipeline, a stage or a matrix, apart from the stages themselves."""

from collections.abc import Callable, Mapping

from jeeves_shared.jenkinsfile.argument_rules import check_arguments
from jeeves_shared.jenkinsfile.catalog import Entry
from jeeves_shared.jenkinsfile.code_rules import check_code
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import IDENTIFIER, Report, literal_name, statements_of
from jeeves_shared.jenkinsfile.step_rules import check_steps

_WHEN_FLAGS = frozenset({"beforeAgent", "beforeInput", "beforeOptions"})
_INPUT_FIELDS = frozenset({"message", "id", "ok", "cancel", "submitter", "submitterParameter", "parameters"})


def check_agent(section: Node, report: Report) -> None:
    """`agent any`, `agent none`, or `agent { type … }` with the type's parameters."""
    types = report.catalog.agents
    if section.block is None:
        name = literal_name(section.arguments[0]) if len(section.arguments) == 1 else None
        if name is None or name not in types or not types[name].bare:
            report.add(section, "agent-form", 'Only "agent any", "agent none" or "agent { … }" are allowed.')
        return
    statements = section.block.children
    if len(statements) != 1 or not statements[0].is_own_call:
        bare = len(statements) == 1 and statements[0].kind == "variable" and statements[0].name in types
        if not bare:
            wanted = "an agent type" if not statements else "exactly one agent type"
            report.add(section, "agent-form", f'"agent" needs {wanted}, such as "label \'linux\'".')
        return
    kind = statements[0]
    entry = types.get(kind.name or "")
    if entry is None:
        report.unknown(kind, "unknown-agent", "agent type", kind.name or "", types)
    elif not entry.free and not entry.bare:
        _check_agent_type(kind, entry, report)


def _check_agent_type(kind: Node, entry: Entry, report: Report) -> None:
    if kind.block is None:
        # `dockerfile true` stands for the defaults.
        if entry.required or len(kind.arguments) != 1 or kind.arguments[0].type != "Boolean":
            check_arguments(kind, entry, "agent type", report)
        return
    given: set[str] = set()
    for option in kind.block.children:
        name = option.name if option.is_own_call else None
        if name is None or len(option.arguments) != 1:
            report.add(option, "agent-form", f"Expected `name 'value'` in the agent type \"{entry.name}\".")
            continue
        given.add(name)
        if name not in entry.parameters:
            report.unknown(option, "unknown-parameter", f"parameter of agent type {entry.name}", name, entry.parameters)
        elif option.arguments[0].kind == "call" and option.arguments[0].name == "$":
            report.add(option, "bare-dollar", '${…} is no value of its own; put it in double quotes: "${…}".')
        elif entry.name == "dockerfile" and name == "filename" and "/" in (option.arguments[0].text or ""):
            report.add(option, "agent-form", "`filename` names no folder: give that by `dir`.")
    for parameter in entry.required:
        if parameter.name not in given:
            report.add(kind, "missing-parameter", f'The agent type "{entry.name}" needs `{parameter.name}`.')


def check_environment(section: Node, report: Report) -> None:
    """`NAME = value`, where a value is text, joined texts or a call such as `credentials('id')`."""
    statements = statements_of(section, "environment", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"environment" names no variable: remove it.')
    names: list[tuple[str, Node]] = []
    for statement in statements:
        if statement.kind != "binary" or statement.operator != "=":
            report.add(statement, "environment-form", 'Expected NAME = "value" in "environment".')
            continue
        key, value = statement.children
        name = literal_name(key) if key.kind == "variable" else None
        if name is None or not IDENTIFIER.match(name):
            report.add(
                statement, "environment-name", "The name of a variable has letters, digits and underscores only."
            )
        else:
            names.append((name, statement))
        _check_environment_value(value, report)
    report.repeated(names, "environment-twice", "The variable")


def _check_environment_value(value: Node, report: Report) -> None:
    if value.kind == "call" and value.name == "$":
        report.add(value, "bare-dollar", '${…} is no value of its own; put it in double quotes: "${…}".')
    elif value.kind == "binary":
        if value.operator != "+":
            report.add(value, "environment-value", "Values of variables can only be joined by +.")
            return
        for part in value.children:
            if part.kind == "binary":
                _check_environment_value(part, report)
            elif part.kind not in {"constant", "gstring"}:
                report.add(part, "environment-value", "What is joined by + must be text in quotes.")
    elif value.is_own_call and value.name == "credentials":
        if len(value.arguments) != 1 or value.arguments[0].kind not in {"constant", "gstring"}:
            report.add(value, "environment-value", "`credentials` takes one id in quotes: credentials('id').")
    elif value.kind not in {"constant", "gstring", "call"}:
        report.add(value, "environment-value", 'The value of a variable is text in quotes or a call: "${params.NAME}".')


def check_options(section: Node, in_stage: bool, report: Report) -> None:
    """Known options, each once, with their parameters; in a stage only those that make sense there."""
    known = report.catalog.options
    allowed = {name: entry for name, entry in known.items() if entry.stage or not in_stage}
    for name, call in _check_list(section, "options", "option", allowed, report, twice=False):
        if in_stage and name in known:
            report.add(call, "option-not-here", f'The option "{name}" belongs to the pipeline, not to a stage.')
        else:
            report.unknown(call, "unknown-option", "option", name, allowed)


def check_triggers(section: Node, report: Report) -> None:
    """Known triggers, each once."""
    for name, call in _check_list(section, "triggers", "trigger", report.catalog.triggers, report, twice=False):
        report.unknown(call, "unknown-trigger", "trigger", name, report.catalog.triggers)


def check_parameters(section: Node, report: Report) -> None:
    """Known types of parameters."""
    known = report.catalog.parameters
    for name, call in _check_list(section, "parameters", "parameter type", known, report, twice=True):
        report.unknown(call, "unknown-parameter-type", "parameter type", name, known)


def _check_list(
    section: Node, what: str, each: str, known: Mapping[str, Entry], report: Report, *, twice: bool
) -> list[tuple[str, Node]]:
    """The calls of a section that are not known; the known ones are checked here."""
    statements = statements_of(section, what, report)
    if statements is None:
        return []
    if not statements:
        report.add(section, "section-empty", f'"{what}" cannot be empty.')
    unknown: list[tuple[str, Node]] = []
    seen: list[tuple[str, Node]] = []
    for call in statements:
        if not call.is_own_call or call.name is None:
            report.add(call, "form", f'Expected {each}s such as `name(…)` in "{what}".')
            continue
        if call.block is not None:
            report.add(call, "block-not-allowed", f'The {each} "{call.name}" takes no block here.')
            continue
        seen.append((call.name, call))
        if (entry := known.get(call.name)) is None:
            unknown.append((call.name, call))
        else:
            check_arguments(call, entry, each, report)
    if not twice:
        report.repeated(seen, f"{each}-twice", f"The {each}")
    return unknown


def check_tools(section: Node, report: Report) -> None:
    """`type 'installation'`, of known types."""
    statements = statements_of(section, "tools", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"tools" cannot be empty.')
    for call in statements:
        if not call.is_own_call or len(call.arguments) != 1:
            report.add(call, "form", "Expected `type 'installation'` in \"tools\".")
        elif call.name not in report.catalog.tools and "." not in (call.name or ""):
            report.unknown(call, "unknown-tool", "tool type", call.name or "", report.catalog.tools)


def check_libraries(section: Node, report: Report) -> None:
    """`lib('name@version')`."""
    statements = statements_of(section, "libraries", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"libraries" cannot be empty.')
    for call in statements:
        if call.name != "lib" or len(call.arguments) != 1 or call.arguments[0].kind not in {"constant", "gstring"}:
            report.add(call, "form", "Expected `lib('name@version')` in \"libraries\".")


def check_post(section: Node, report: Report) -> None:
    """Known conditions, each once, with at least one step."""
    statements = statements_of(section, "post", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"post" cannot be empty.')
    seen: list[tuple[str, Node]] = []
    for condition in statements:
        if not condition.is_own_call or condition.block is None or condition.name is None:
            report.add(
                condition, "post-form", f'"post" holds conditions with blocks: {", ".join(report.catalog.post)}.'
            )
            continue
        seen.append((condition.name, condition))
        if condition.name not in report.catalog.post:
            report.unknown(condition, "unknown-post-condition", "post condition", condition.name, report.catalog.post)
        if not condition.block.children:
            report.add(condition, "section-empty", f'"{condition.name}" has no step.')
        check_steps(condition.block.children, report)
    report.repeated(seen, "post-twice", "The post condition")


def check_when(section: Node, report: Report) -> None:
    """At least one known condition; `not` around one, `allOf` and `anyOf` around at least one."""
    statements = statements_of(section, "when", report)
    if statements is None:
        return
    conditions = [node for node in statements if not (node.is_own_call and node.name in _WHEN_FLAGS)]
    if not conditions:
        report.add(section, "section-empty", '"when" has no condition.')
    for flag in (node for node in statements if node not in conditions):
        if len(flag.arguments) != 1 or flag.arguments[0].type != "Boolean":
            report.add(flag, "parameter-type", f"`{flag.name}` must be true or false.")
    for condition in conditions:
        _check_condition(condition, report)


def _check_condition(condition: Node, report: Report) -> None:
    known = report.catalog.conditions
    if not condition.is_own_call or condition.name is None:
        report.add(condition, "when-form", 'Expected a condition such as "branch \'main\'" in "when".')
        return
    name = condition.name
    if name == "expression":
        if condition.block is None:
            report.add(condition, "block-expected", '"expression" needs a block: expression { … }.')
        else:
            check_code(condition.block, report)
        return
    entry = known.get(name)
    if entry is None:
        report.unknown(condition, "unknown-condition", "condition", name, [*known, "expression"])
    elif entry.children == 0:
        if condition.block is not None:
            report.add(condition, "block-not-allowed", f'The condition "{name}" takes no conditions inside.')
        else:
            _check_condition_arguments(condition, entry, report)
    elif condition.block is None or condition.plain_arguments:
        report.add(condition, "when-form", f'"{name}" takes a block of conditions and nothing else.')
    else:
        inside = condition.block.children
        if not inside or (entry.children > 0 and len(inside) != entry.children):
            wanted = "at least one condition" if entry.children < 0 else f"exactly {entry.children} condition"
            report.add(condition, "when-form", f'"{name}" needs {wanted} inside, not {len(inside)}.')
        for child in inside:
            _check_condition(child, report)


def _check_condition_arguments(condition: Node, entry: Entry, report: Report) -> None:
    # A single value stands for the pattern, the type of cause, …
    if entry.name in {"tag", "changeRequest", "triggeredBy"} and len(condition.plain_arguments) <= 1:
        single = not condition.plain_arguments or condition.plain_arguments[0].kind != "map"
        if single or entry.name == "triggeredBy":
            return
    check_arguments(condition, entry, "condition", report)


def check_input(section: Node, report: Report) -> None:
    """Known fields, each once, with a message."""
    if section.block is None:
        if len(section.arguments) != 1 or section.arguments[0].kind not in {"constant", "gstring"}:
            report.add(section, "block-expected", "\"input\" needs a block: input { message '…' }.")
        return
    seen: list[tuple[str, Node]] = []
    for field in section.block.children:
        if not field.is_own_call or field.name is None or len(field.arguments) != 1:
            report.add(field, "form", "Expected `field 'value'` in \"input\".")
            continue
        seen.append((field.name, field))
        if field.name not in _INPUT_FIELDS:
            report.unknown(field, "unknown-field", "field of input", field.name, _INPUT_FIELDS)
        elif field.name == "parameters":
            check_parameters(field, report)
    if "message" not in [name for name, _ in seen]:
        report.add(section, "missing-parameter", '"input" needs a `message`.')
    report.repeated(seen, "field-twice", "The field")


SHARED_SECTIONS: dict[str, Callable[[Node, Report], None]] = {
    "agent": check_agent,
    "environment": check_environment,
    "tools": check_tools,
    "post": check_post,
}
"""Sections that mean the same in a pipeline, a stage and a matrix."""
