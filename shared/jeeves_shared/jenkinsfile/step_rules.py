"""Steps and the arguments of everything that is called like one."""

from jeeves_shared.jenkinsfile.catalog import Entry, Parameter, nearest
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import Report, literal_name

BLOCKED_STEPS = {
    "stage": "a stage belongs into `stages` or `parallel`",
    "properties": "use the `options`, `parameters` and `triggers` directives",
    "parallel": "it may only be the one step of a stage's `steps`; better: the `parallel` directive of the stage",
    "pipeline": "the `pipeline` block stands at the top level",
}
_SHELL_STEPS = frozenset({"sh", "bat", "powershell", "pwsh"})
_TYPE_WORDS = {"text": "text in quotes", "int": "a whole number", "bool": "true or false"}
_CONSTANT_TYPES = {"Integer": "int", "Long": "int", "BigInteger": "int", "Boolean": "bool", "String": "text"}


def check_steps(statements: tuple[Node, ...], report: Report) -> None:
    """Every statement of a `steps` block, a post condition or a block step.

    Args:
        statements: of the block.
        report: where to write.
    """
    for statement in statements:
        _check_step(statement, report)


def _check_step(statement: Node, report: Report) -> None:
    if statement.kind == "call" and statement.target is not None:
        report.add(
            statement, "object-call", 'Methods of objects can only be called inside "script { … }" in Declarative.'
        )
        return
    if not statement.is_own_call or statement.name is None:
        report.add(statement, "step-expected", f'{_described(statement)} is not a step: wrap it into "script {{ … }}".')
        return
    name = statement.name
    if name == "script":
        if statement.block is None:
            report.add(statement, "block-expected", '"script" needs a block: script { … }.')
        else:
            check_code(statement.block, report)
        return
    if name in BLOCKED_STEPS and name not in report.own_names:
        report.add(statement, "step-not-allowed", f'"{name}" is no step of a Declarative stage: {BLOCKED_STEPS[name]}.')
        return
    entry = report.catalog.steps.get(name)
    if entry is None:
        _unknown_step(statement, report)
    else:
        check_arguments(statement, entry, "step", report)
    if statement.block is not None:
        if entry is not None and not entry.block and not entry.free:
            report.add(statement, "block-not-allowed", f'The step "{name}" takes no block.')
        check_steps(statement.block.children, report)


def check_code(block: Node, report: Report) -> None:
    """Groovy inside `script` or a function: calls of known steps have known parameters; nothing else is judged.

    Args:
        block: the closure, or any node.
        report: where to write.
    """
    for node in block.walk():
        if not node.is_own_call or node.name is None or node.name in report.own_names:
            continue
        entry = report.catalog.steps.get(node.name)
        if entry is not None:
            check_arguments(node, entry, "step", report)


def _unknown_step(call: Node, report: Report) -> None:
    name = call.name or ""
    if name in report.own_names:
        return
    meant = nearest(name, report.catalog.steps)
    if meant is not None and not report.loads_library:
        report.add(call, "unknown-step", f'Unknown step "{name}"; did you mean "{meant}"?')
    else:
        report.add(
            call,
            "unknown-step",
            f'No plugin on the list gives a step "{name}"; it fails unless a shared library or another plugin does.',
            "warning",
        )


def check_arguments(call: Node, entry: Entry, what: str, report: Report) -> None:
    """Names, number and types of a call's arguments, as Jenkins checks them against the plugin's own form.

    Args:
        call: the call.
        entry: what is known of it.
        what: `step`, `option`, … for the message.
        report: where to write.
    """
    arguments = call.plain_arguments
    for argument in arguments:
        _bare_dollar(argument, report)
    if entry.free:
        return
    if not arguments or (len(arguments) == 1 and arguments[0].kind == "map" and not _is_meta_step(arguments[0])):
        _named(call, arguments[0].entries if arguments else (), entry, what, report)
    elif len(arguments) == 1:
        sole = entry.sole
        if sole is None:
            if entry.parameters or not entry.block:
                how = f"name them: {', '.join(entry.parameters)}" if entry.parameters else "it takes none"
                report.add(call, "arguments", f'The {what} "{entry.name}" takes no single value; {how}.')
        else:
            _type(arguments[0], sole, report)
    elif any(argument.kind == "map" for argument in arguments):
        report.add(call, "arguments", f'Named and unnamed arguments of "{entry.name}" cannot be mixed.')
    elif len(arguments) != len(entry.required):
        report.add(
            call,
            "arguments",
            f'The {what} "{entry.name}" takes {len(entry.required)} unnamed values, not {len(arguments)}; name them.',
        )
    else:
        for value, parameter in zip(arguments, entry.required, strict=True):
            _type(value, parameter, report)


def _named(call: Node, entries: tuple[tuple[Node, Node], ...], entry: Entry, what: str, report: Report) -> None:
    given: set[str] = set()
    for key, value in entries:
        name = literal_name(key)
        if name is None:
            continue
        given.add(name)
        parameter = entry.parameters.get(name)
        if parameter is not None:
            _type(value, parameter, report)
        elif entry.sole is not None and entry.sole.type == "any":
            given.add(entry.sole.name)  # the fields of the one object that it takes
        else:
            report.unknown(key, "unknown-parameter", f"parameter of {what} {entry.name}", name, entry.parameters)
    missing = [parameter.name for parameter in entry.required if parameter.name not in given]
    if missing:
        report.add(
            call, "missing-parameter", f'The {what} "{entry.name}" needs {" and ".join(f"`{m}`" for m in missing)}.'
        )


def _type(value: Node, parameter: Parameter, report: Report) -> None:
    _bare_dollar(value, report)
    have = _CONSTANT_TYPES.get(value.type) if value.kind == "constant" else None
    if have is None or parameter.type in {"any", have}:
        return
    report.add(
        value,
        "parameter-type",
        f"`{parameter.name}` must be {_TYPE_WORDS[parameter.type]}, not {value.value!r} ({_TYPE_WORDS[have]}).",
    )


def _bare_dollar(value: Node, report: Report) -> None:
    if value.kind == "call" and value.name == "$" and value.block is not None:
        report.add(value, "bare-dollar", '${…} is no value of its own; put it in double quotes: "${…}".')


def _is_meta_step(node: Node) -> bool:
    return any(literal_name(key) == "$class" for key, _ in node.entries)


def _described(node: Node) -> str:
    words = {
        "declaration": "A variable declaration",
        "binary": "An assignment or operation",
        "constant": "A bare value",
        "gstring": "A bare value",
        "variable": f'"{node.name}"',
        "closure": "A bare block",
        "map": "A bare map or label",
        "other": f'"{node.type.lower()}"',
    }
    return words.get(node.kind, "This")


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
