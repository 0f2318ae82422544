"""The arguments of everything that is called like a step."""

from jeeves_shared.jenkinsfile.catalog import Entry, Parameter, misspelling_of
from jeeves_shared.jenkinsfile.cron import fault_of
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import Report, literal_name

_TYPE_WORDS = {"text": "text in quotes", "int": "a whole number", "bool": "true or false", "list": "a list: […]"}
_NO_BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off"})
_SPELT = {"cron": "text"}
"""What types are written as another one."""
_CONSTANT_TYPES = {"Integer": "int", "Long": "int", "BigInteger": "int", "Boolean": "bool", "String": "text"}


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
        _check_object(argument, report)
    if _misread(arguments, entry, report):
        return
    if entry.name == "withCredentials":
        _check_bindings(call, report)
    if entry.free:
        return
    if not arguments or (len(arguments) == 1 and arguments[0].kind == "map" and not _is_meta_step(arguments[0])):
        _named(call, arguments[0].entries if arguments else (), entry, what, report)
    else:
        _unnamed(call, arguments, entry, what, report)


def _unnamed(call: Node, arguments: tuple[Node, ...], entry: Entry, what: str, report: Report) -> None:
    if len(arguments) == 1:
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
        elif entry.fields is not None and name in entry.fields and entry.sole is not None:
            given.add(entry.sole.name)
            _type(value, entry.fields[name], report)
        elif entry.sole is not None and entry.sole.type == "object" and entry.fields is None:
            given.add(entry.sole.name)  # the fields of the one object that it takes
        else:
            known = [*entry.parameters, *(entry.fields or ())]
            report.unknown(key, "unknown-parameter", f"parameter of {what} {entry.name}", name, known)
    missing = [parameter.name for parameter in entry.required if parameter.name not in given]
    if missing:
        report.add(
            call, "missing-parameter", f'The {what} "{entry.name}" needs {" and ".join(f"`{m}`" for m in missing)}.'
        )


def _type(value: Node, parameter: Parameter, report: Report) -> None:
    _bare_dollar(value, report)
    _check_object(value, report)
    _check_constant(value, parameter, report)
    have = _CONSTANT_TYPES.get(value.type) if value.kind == "constant" else None
    if parameter.choices and value.text is not None and value.text not in parameter.choices:
        known = ", ".join(choice for choice in parameter.choices if choice.isupper())
        report.add(value, "parameter-value", f"`{parameter.name}` must be one of {known}, not {value.text!r}.")
    wanted = _SPELT.get(parameter.type, parameter.type)
    if parameter.type == "cron" and value.text is not None and (fault := fault_of(value.text)):
        report.add(value, "cron", f"{fault}.")
    if have is None or wanted in {"any", "object", have}:
        return
    report.add(
        value,
        "parameter-type",
        f"`{parameter.name}` must be {_TYPE_WORDS[wanted]}, not {value.value!r} ({_TYPE_WORDS[have]}).",
    )


def _misread(arguments: tuple[Node, ...], entry: Entry, report: Report) -> bool:
    """`sh script = 'make'`, an assignment; `retry 3 { … }`, a call of the 3."""
    wrong = 0
    for argument in arguments:
        if argument.kind == "binary" and argument.operator == "=":
            name = literal_name(argument.children[0]) or "name"
            report.add(argument, "form", f"Named arguments have a colon: `{name}: …`, not `{name} = …`.")
            wrong += 1
        elif argument.name == "call" and argument.block is not None and entry.block:
            report.add(argument, "form", f"A value before a block needs parentheses: {entry.name}(…) {{ … }}.")
            wrong += 1
    return wrong > 0


def _check_constant(value: Node, parameter: Parameter, report: Report) -> None:
    """`unit: HOURS`, `wait: False`: words that are neither variables nor Groovy's constants."""
    if value.kind != "variable" or value.name is None or value.name in report.own_names:
        return
    if value.name in parameter.choices:
        report.add(value, "bare-word", f"`{parameter.name}` takes text: '{value.name}'.")
    elif parameter.type == "bool" and value.name.lower() in _NO_BOOLEANS:
        report.add(value, "bare-word", f"`{parameter.name}` must be true or false, not {value.name}.")


def _check_object(value: Node, report: Report) -> None:
    """`logRotator(…)` and the like: they have parameters of their own."""
    entry = report.catalog.objects.get(value.name or "") if value.is_own_call else None
    if entry is not None:
        check_arguments(value, entry, "object", report)


def _check_bindings(call: Node, report: Report) -> None:
    """`withCredentials([string(…), …])`: `string` is another one among parameters."""
    known = report.catalog.bindings
    for argument in call.plain_arguments:
        lists = [argument, *(value for _, value in argument.entries)]
        for binding in (item for one in lists if one.kind == "list" for item in one.children if item.is_own_call):
            if (entry := known.get(binding.name or "")) is not None:
                check_arguments(binding, entry, "binding", report)
            elif (meant := misspelling_of(binding.name or "", known)) is not None:
                report.add(binding, "unknown-binding", f'Unknown binding "{binding.name}"; did you mean "{meant}"?')


def _bare_dollar(value: Node, report: Report) -> None:
    if value.kind == "call" and value.name == "$" and value.block is not None:
        report.add(value, "bare-dollar", '${…} is no value of its own; put it in double quotes: "${…}".')


def _is_meta_step(node: Node) -> bool:
    return any(literal_name(key) == "$class" for key, _ in node.entries)
