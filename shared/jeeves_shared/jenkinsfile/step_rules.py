"""What may stand where Declarative Pipeline wants steps."""

from jeeves_shared.jenkinsfile.argument_rules import check_arguments
from jeeves_shared.jenkinsfile.catalog import misspelling_of
from jeeves_shared.jenkinsfile.code_rules import PIPELINE_WORDS, check_code, is_section
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import Report

BLOCKED_STEPS = {
    "stage": "a stage belongs into `stages` or `parallel`",
    "properties": "use the `options`, `parameters` and `triggers` directives",
    "parallel": "it may only be the one step of a stage's `steps`; better: the `parallel` directive of the stage",
    "pipeline": "the `pipeline` block stands at the top level",
}


def check_steps(statements: tuple[Node, ...], report: Report) -> None:
    """Every statement of a `steps` block, a post condition or a block step.

    Args:
        statements: of the block.
        report: where to write.
    """
    for statement in statements:
        _check_step(statement, report)


def _check_step(statement: Node, report: Report) -> None:
    first = statement.target
    if (
        statement.kind in {"call", "property"}
        and first is not None
        and first.is_own_call
        and first.name in report.catalog.steps
    ):
        report.add(
            statement,
            "one-line",
            f'"{first.name}" and what follows it are read as one statement: is a quote or a new line missing?',
        )
        return
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
    in_post = name in report.catalog.post and statement.block is not None and not statement.plain_arguments
    if (in_post or is_section(statement)) and name not in report.own_names:
        where = "`post`" if in_post else "`pipeline`" if name in PIPELINE_WORDS else "the stage, beside `steps`"
        report.add(statement, "step-not-allowed", f'"{name}" is no step: it belongs into {where}.')
        return
    _check_words(statement, report)
    entry = report.catalog.steps.get(name)
    if entry is None:
        _unknown_step(statement, report)
    else:
        check_arguments(statement, entry, "step", report)
    if statement.block is not None:
        if entry is not None and not entry.block and not entry.free:
            report.add(statement, "block-not-allowed", f'The step "{name}" takes no block.')
        check_steps(statement.block.children, report)


def _check_words(step: Node, report: Report) -> None:
    """`echo hello`: a bare word is a variable, and nothing in the file gives it a value."""
    if report.loads_library:
        return
    for argument in step.plain_arguments:
        values = [value for _, value in argument.entries] if argument.kind == "map" else [argument]
        for value in values:
            if value.kind == "variable" and value.name and report.is_unheard_of(value.name):
                report.add(value, "bare-word", f'There is no variable {value.name}; if text is meant: "{value.name}".')


def _unknown_step(call: Node, report: Report) -> None:
    name = call.name or ""
    if name in report.own_names:
        return
    meant = misspelling_of(name, report.catalog.steps)
    if meant is not None and not report.loads_library:
        report.add(call, "unknown-step", f'Unknown step "{name}"; did you mean "{meant}"?')
    else:
        report.add(
            call,
            "unknown-step",
            f'No plugin on the list gives a step "{name}"; it fails unless a shared library or another plugin does.',
            "warning",
        )


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
