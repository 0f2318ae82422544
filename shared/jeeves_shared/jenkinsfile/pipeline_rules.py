"""The frame of a Declarative Pipeline: its sections, stages, parallel stages and matrices.

Source: the rules of the plugin pipeline-model-definition (its handbook page "Pipeline syntax" and its own validator).
"""

from collections.abc import Callable

from jeeves_shared.jenkinsfile.catalog import nearest
from jeeves_shared.jenkinsfile.groovy_ast import Node
from jeeves_shared.jenkinsfile.report import IDENTIFIER, Report, literal_name, statements_of
from jeeves_shared.jenkinsfile.section_rules import (
    SHARED_SECTIONS,
    check_input,
    check_libraries,
    check_options,
    check_parameters,
    check_triggers,
    check_when,
)
from jeeves_shared.jenkinsfile.step_rules import check_steps

Rule = Callable[[Node, Report], object]

_RENAMED = {
    "postBuild": "post",
    "notifications": "post",
    "properties": "options",
    "jobProperties": "options",
    "wrappers": "options",
}
_IN_STAGES = frozenset({"stage", "steps", "parallel", "matrix"})
_CONTENTS = ("steps", "stages", "parallel", "matrix")


def check_pipeline(pipeline: Node, report: Report) -> None:
    """A `pipeline` block: one `agent`, one `stages`, no section twice, none that is unknown.

    Args:
        pipeline: the call.
        report: where to write.
    """
    statements = statements_of(pipeline, "pipeline", report)
    if statements is None:
        return
    rules: dict[str, Rule] = {
        **SHARED_SECTIONS,
        "stages": lambda node, to: _check_stages(node, to, in_parallel=False),
        "options": lambda node, to: check_options(node, False, to),
        "parameters": check_parameters,
        "triggers": check_triggers,
        "libraries": check_libraries,
    }
    sections = _check_sections(statements, rules, "pipeline", report)
    for required in ("agent", "stages"):
        if required not in sections and not _garbled(statements, required):
            report.add(pipeline, "section-missing", f'"pipeline" needs the section "{required}".')


def _check_sections(
    statements: tuple[Node, ...], rules: dict[str, Rule], where: str, report: Report
) -> dict[str, Node]:
    """Run each section's rule; the first section of each name."""
    found: dict[str, Node] = {}
    for section in statements:
        if not section.is_own_call or section.name is None:
            report.add(section, "section-form", _why_no_section(section, where))
            continue
        if section.name in found:
            report.add(section, "section-twice", f'The section "{section.name}" stands more than once in "{where}".')
        found.setdefault(section.name, section)
        if section.name in rules:
            rules[section.name](section, report)
        elif section.name in _RENAMED:
            now = _RENAMED[section.name]
            report.add(section, "unknown-section", f'The section "{section.name}" is called "{now}" now.')
        elif where == "pipeline" and section.name in _IN_STAGES:
            inside = "stages" if section.name == "stage" else "a stage"
            report.add(section, "unknown-section", f'"{section.name}" belongs into {inside}, not into "pipeline".')
        elif section.name in report.catalog.steps:
            report.add(
                section,
                "unknown-section",
                f'The step "{section.name}" cannot stand in "{where}" itself: put it into "steps {{ … }}".',
            )
        else:
            report.unknown(section, "unknown-section", f"section of {where}", section.name, rules)
    return found


def _why_no_section(statement: Node, where: str) -> str:
    chained = statement.target if statement.kind == "call" else None
    if chained is not None and chained.is_own_call and chained.block is not None:
        return f'"{statement.name}" goes on with "{chained.name}" in one statement: begin a new line before it.'
    return f'Not a section of "{where}": expected `name {{ … }}`.'


def _garbled(statements: tuple[Node, ...], required: str) -> bool:
    """Whether a section that is missing stands there misspelt or malformed, which was reported at its own line."""
    for statement in statements:
        if not statement.is_own_call or statement.name is None:
            if any(required in (part.name, part.text) for part in statement.walk()):
                return True
        elif statement.name != required and (
            nearest(statement.name, [required]) or (required == "stages" and statement.name in _IN_STAGES)
        ):
            return True
    return False


def _check_stages(section: Node, report: Report, *, in_parallel: bool, what: str = "stages") -> None:
    statements = statements_of(section, what, report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", f'"{what}" has no stage.')
    names: list[tuple[str, Node]] = []
    for stage in statements:
        if stage.name != "stage" or not stage.is_own_call:
            report.add(stage, "stage-expected", f"\"{what}\" holds stages only: stage('name') {{ … }}.")
            continue
        name = _check_stage(stage, report, in_parallel=in_parallel)
        if name is not None:
            names.append((name, stage))
    report.repeated(names, "stage-twice", "The stage")


def _check_stage(stage: Node, report: Report, *, in_parallel: bool) -> str | None:
    """One stage; its name."""
    arguments = stage.plain_arguments
    name = literal_name(arguments[0]) if len(arguments) == 1 else None
    if name is None:
        wrong = "must be plain text" if arguments else "is missing"
        report.add(stage, "stage-name", f"The name of the stage {wrong}: stage('name') {{ … }}.")
    statements = statements_of(stage, "stage", report)
    if statements is None:
        return name
    rules: dict[str, Rule] = {
        **SHARED_SECTIONS,
        "when": check_when,
        "input": check_input,
        "options": lambda node, to: check_options(node, True, to),
        "failFast": _check_fail_fast,
        "steps": _check_steps_section,
        "stages": lambda node, to: _check_stages(node, to, in_parallel=in_parallel),
        "parallel": lambda node, to: _check_stages(node, to, in_parallel=True, what="parallel"),
        "matrix": check_matrix,
    }
    sections = _check_sections(statements, rules, "stage", report)
    _check_contents(stage, name or "", sections, in_parallel, report)
    return name


def _check_contents(stage: Node, name: str, sections: dict[str, Node], in_parallel: bool, report: Report) -> None:
    contents = [content for content in _CONTENTS if content in sections]
    spread = [sections[content] for content in ("parallel", "matrix") if content in sections]
    if in_parallel and spread:
        report.add(
            spread[0], "nested-parallel", '"parallel" and "matrix" cannot stand inside another "parallel" or "matrix".'
        )
    elif not contents and not any(_garbled(stage.block.children if stage.block else (), one) for one in _CONTENTS):
        report.add(stage, "stage-empty", f'The stage "{name}" needs one of "steps", "stages", "parallel" or "matrix".')
    elif len(contents) > 1:
        both = " and ".join(f'"{content}"' for content in contents)
        report.add(stage, "stage-contents", f'The stage "{name}" has {both}; only one of them is allowed.')
    elif spread:
        for section in ("agent", "tools"):
            if section in sections:
                report.add(
                    sections[section],
                    "not-with-parallel",
                    f'"{section}" is not allowed in the stage "{name}": its parallel stages have their own.',
                )


def _check_fail_fast(section: Node, report: Report) -> None:
    if len(section.arguments) != 1 or section.arguments[0].type != "Boolean":
        report.add(section, "parameter-type", "`failFast` must be true or false.")


def _check_steps_section(section: Node, report: Report) -> None:
    statements = statements_of(section, "steps", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"steps" has no step.')
    if len(statements) == 1 and statements[0].is_own_call and statements[0].name == "parallel":
        _check_parallel_step(statements[0], report)
    else:
        check_steps(statements, report)


def _check_parallel_step(step: Node, report: Report) -> None:
    """The old form: `steps { parallel(one: { … }, two: { … }) }`."""
    if len(step.arguments) != 1 or step.arguments[0].kind != "map":
        report.add(step, "form", "`parallel` as a step takes named blocks: parallel(one: { … }, two: { … }).")
        return
    for key, value in step.arguments[0].entries:
        if literal_name(key) == "failFast":
            if value.type != "Boolean":
                report.add(value, "parameter-type", "`failFast` must be true or false.")
        elif value.kind != "closure":
            report.add(value, "form", f'The branch "{literal_name(key)}" must be a block.')
        else:
            check_steps(value.children, report)


def check_matrix(section: Node, report: Report) -> None:
    """`axes` and `stages`, with what may stand beside them.

    Args:
        section: the call.
        report: where to write.
    """
    statements = statements_of(section, "matrix", report)
    if statements is None:
        return
    rules: dict[str, Rule] = {
        **SHARED_SECTIONS,
        "when": check_when,
        "input": check_input,
        "options": lambda node, to: check_options(node, True, to),
        "axes": lambda node, to: _check_axes(node, "axes", to),
        "excludes": lambda node, to: _check_excludes(node, _axis_names(statements), to),
        "stages": lambda node, to: _check_stages(node, to, in_parallel=True),
    }
    sections = _check_sections(statements, rules, "matrix", report)
    for required in ("axes", "stages"):
        if required not in sections:
            report.add(section, "section-missing", f'"matrix" needs the section "{required}".')


def _axis_names(statements: tuple[Node, ...]) -> frozenset[str]:
    fields = (
        field
        for section in statements
        if section.name == "axes" and section.block is not None
        for field in section.walk()
        if field.is_own_call and field.name == "name" and field.arguments
    )
    return frozenset(name for field in fields if (name := literal_name(field.arguments[0])) is not None)


def _check_excludes(section: Node, axes: frozenset[str], report: Report) -> None:
    statements = statements_of(section, "excludes", report)
    if statements is None:
        return
    if not statements:
        report.add(section, "section-empty", '"excludes" has no "exclude".')
    for exclude in statements:
        if not exclude.is_own_call or exclude.name != "exclude":
            report.add(exclude, "form", '"excludes" holds "exclude { … }" only.')
        else:
            for name, axis in _check_axes(exclude, "exclude", report):
                if axes and name not in axes:
                    report.unknown(axis, "unknown-axis", "axis", name, axes)


def _check_axes(section: Node, what: str, report: Report) -> list[tuple[str, Node]]:
    statements = statements_of(section, what, report)
    if statements is None:
        return []
    if not statements:
        report.add(section, "section-empty", f'"{what}" has no "axis".')
    names: list[tuple[str, Node]] = []
    for axis in statements:
        if not axis.is_own_call or axis.name != "axis" or axis.block is None:
            report.add(axis, "form", f'"{what}" holds "axis {{ … }}" only.')
            continue
        name = _check_axis(axis, what == "exclude", report)
        if name is not None:
            names.append((name, axis))
    report.repeated(names, "axis-twice", "The axis")
    return names


def _check_axis(axis: Node, in_exclude: bool, report: Report) -> str | None:
    fields = {field.name: field for field in (axis.block.children if axis.block else ()) if field.is_own_call}
    allowed = {"name", "values", "notValues"} if in_exclude else {"name", "values"}
    garbled = False
    for field in axis.block.children if axis.block else ():
        if field.kind == "binary" and field.children[0].name in allowed:
            report.add(field, "form", f"`{field.children[0].name}` takes texts without brackets: values 'one', 'two'.")
            garbled = True
        elif field.name not in allowed:
            report.unknown(field, "unknown-field", "field of axis", field.name or "", allowed)
            garbled = True
    name = literal_name(fields["name"].arguments[0]) if "name" in fields and fields["name"].arguments else None
    if name is None:
        if not garbled:
            report.add(axis, "missing-parameter", '"axis" needs a `name`.')
    elif not IDENTIFIER.match(name):
        report.add(axis, "environment-name", f'"{name}" cannot name an axis: letters, digits and underscores only.')
    values = fields.get("values") or (fields.get("notValues") if in_exclude else None)
    if values is None or not values.arguments:
        if not garbled:
            report.add(axis, "missing-parameter", '"axis" needs `values`.')
        return name
    if "values" in fields and "notValues" in fields:
        report.add(axis, "form", "An axis of an exclude has `values` or `notValues`, not both.")
    for value in values.arguments:
        if value.kind != "constant":
            report.add(value, "axis-value", "The values of an axis are plain text: no variable, no ${…}.")
    report.repeated(
        [(str(v.value), v) for v in values.arguments if v.kind == "constant"], "axis-value-twice", "The value"
    )
    return name
