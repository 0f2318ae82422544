"""What a Pipeline does, in words, from its syntax tree; and a Scripted Pipeline as a Declarative one."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jeeves_shared.jenkinsfile.groovy_ast import Node, ParsedFile

_COMMANDS = ("sh", "bat", "powershell", "pwsh")
_COMMAND_CHARACTERS_MAX = 80
_DIRECTIVE_CHARACTERS_MAX = 140
_STAGES_MAX = 8
_STEPS_TOLD = 4
_STRING_OR_COMMENT = re.compile(
    r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|//[^\n]*|/\*.*?\*/", re.DOTALL
)
_NODE = re.compile(r"\bnode\s*(?:\(\s*(?P<label>'[^'\n]*'|\"[^\"\n$]*\")?\s*\))?\s*\{")
_STAGE = re.compile(r"\bstage\s*\(\s*(?P<name>'[^'\n]*'|\"[^\"\n$]*\")\s*\)\s*\{")
_STAGE_PARTS = frozenset({"steps", "agent", "when", "input", "environment", "options", "tools"})
_DECIDED_BEFORE = {
    "beforeAgent": "before it takes an agent",
    "beforeInput": "before it asks",
    "beforeOptions": "before its options apply",
}
"""What in a `when` is no condition, but says when the conditions are looked at."""
_NOT_IN_STEPS = frozenset({"stage", "node", "parallel", "properties", "load", "library"})


@dataclass(frozen=True)
class Stage:
    """A stage: what must be so before it begins, and what its steps do, each as `runs …`."""

    name: str
    conditions: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def told(self) -> str:
        """All of it in one phrase."""
        return "; ".join(part for part in (*self.conditions, _listed(self.steps)) if part)


@dataclass(frozen=True)
class Pipeline:
    """What a Declarative Pipeline says.

    Attributes:
        agent: as `runs on any agent`.
        stages: in order.
        post: condition and what is done then.
        settings: its other directives, as `sets …`.
    """

    agent: str
    stages: tuple[Stage, ...]
    post: tuple[tuple[str, tuple[str, ...]], ...]
    settings: tuple[str, ...]

    @property
    def requirement(self) -> str:
        """What somebody asks for who needs it, after `that`."""
        parts = [self.agent, *self.settings, f"has {_named('stage', [stage.name for stage in self.stages])}"]
        parts += [f"in {stage.name} {stage.told}" for stage in self.stages if stage.told]
        parts += [f"on `{condition}` {_listed(steps)}" for condition, steps in self.post if steps]
        return "; ".join(parts)


def described(code: str, parsed: ParsedFile) -> Pipeline | None:
    """The Declarative Pipeline of a file; None if there is none, or it holds more than can be told in a few words.

    Args:
        code: of the file.
        parsed: the same, parsed.
    """
    pipelines = [node for node in parsed.statements if node.is_own_call and node.name == "pipeline" and node.block]
    if len(pipelines) != 1 or len(parsed.statements) != 1:
        return None
    lines = code.split("\n")
    directives = {node.name: node for node in _body(pipelines[0]) if node.is_own_call and node.name}
    stages = [_stage(node, lines) for node in _body(directives.get("stages"))]
    told = tuple(stage for stage in stages if stage is not None)
    if not told or len(told) < len(stages) or len(told) > _STAGES_MAX:
        return None
    conditions = [node for node in _body(directives.get("post")) if node.name]
    if not all(_is_tellable(_body(node)) for node in conditions):
        return None
    post = tuple((str(node.name), tuple(_told(_body(node)))) for node in conditions)
    settings = tuple(
        f"sets `{name}` to {_written(node, lines)}"
        for name, node in directives.items()
        if name not in ("agent", "stages", "post")
    )
    return Pipeline(_agent(directives.get("agent")), told, post, settings)


def in_sentences(pipeline: Pipeline) -> str:
    """What a Pipeline does, for somebody who reads it for the first time, as a list."""
    said = [f"It is a Declarative Pipeline that {pipeline.agent}."]
    said += [f"- It {setting}." for setting in pipeline.settings]
    said += [f"- Stage {stage.name}: {stage.told or 'does nothing'}." for stage in pipeline.stages]
    said += [f"- Afterwards, on `{condition}`: {_listed(steps)}." for condition, steps in pipeline.post if steps]
    return "\n".join(said)


def _stage(node: Node, lines: Sequence[str]) -> Stage | None:
    """A stage of steps; None for parallel ones, matrices, nested stages, and code that is more than steps."""
    parts = {part.name: part for part in _body(node) if part.is_own_call}
    name = _first_text(node)
    if node.name != "stage" or not name or "steps" not in parts or set(parts) - _STAGE_PARTS:
        return None
    if not _is_tellable(_body(parts["steps"])):
        return None
    conditions = []
    if "agent" in parts:
        conditions.append(_agent(parts["agent"]))
    if "when" in parts:
        conditions.append(_condition(parts["when"], lines))
    if "input" in parts:
        message = next((_first_text(part) for part in _body(parts["input"]) if part.name == "message"), "")
        conditions.append(f"asks a person “{message}” first" if message else "asks a person first")
    conditions += [
        f"sets `{part}` to {_written(parts[part], lines)}"
        for part in ("environment", "options", "tools")
        if part in parts
    ]
    return Stage(name, tuple(conditions), tuple(_told(_body(parts["steps"]))))


def _condition(when: Node, lines: Sequence[str]) -> str:
    before = [words for name, words in _DECIDED_BEFORE.items() if any(node.name == name for node in _body(when))]
    decided = f", which is decided {_listed(before)}" if before else ""
    return f"only when {_written(when, lines, _DECIDED_BEFORE)}{decided}"


def _is_tellable(steps: Sequence[Node]) -> bool:
    """False where variables, conditions or loops stand among the steps: what they do is not in their names."""
    return all(step.is_own_call and _is_tellable(_body(step)) for step in steps)


def _written(directive: Node, lines: Sequence[str], but: Collection[str] = ()) -> str:
    """The lines of a directive as they stand, where they are short and whole; else their names."""
    said = []
    for node in _body(directive):
        if node.name in but:
            continue
        line = lines[node.line - 1].strip() if 0 < node.line <= len(lines) else ""
        if node.line == directive.line:
            line = line[line.find("{") + 1 : line.rfind("}")]
        line = line.split(" //")[0].strip()
        whole = all(line.count(opened) == line.count(closed) for opened, closed in ("()", "[]", "{}"))
        alone = whole and line and "`" not in line and len(line) <= _DIRECTIVE_CHARACTERS_MAX
        said.append(f"`{line}`" if alone else f"`{node.name or 'a condition'}`")
    return _listed(list(dict.fromkeys(said))) or "nothing"


def _agent(node: Node | None) -> str:
    if node is None or not node.arguments:
        return "runs on an agent"
    if node.block is None:
        said = node.arguments[0].text or node.arguments[0].name
        return "takes an agent for each stage" if said == "none" else "runs on any agent"
    inner = next((part for part in _body(node) if part.is_own_call), None)
    if inner is None:
        return "runs on an agent"
    value = _first_text(inner) or next((_first_text(part) for part in _body(inner) if part.name == "image"), "")
    if inner.name == "label":
        return f"runs on an agent with the label `{value}`"
    if inner.name == "docker" and value:
        return f"runs in a container of the image `{value}`"
    return f"runs on an agent given by `{inner.name}`"


def _told(steps: Sequence[Node]) -> list[str]:
    said: list[str] = []
    for step in steps:
        if not step.is_own_call:
            continue
        inner = _body(step)
        text = _first_text(step)
        short = text if text and "\n" not in text and "`" not in text and len(text) <= _COMMAND_CHARACTERS_MAX else ""
        if step.name in _COMMANDS:
            command = f"runs `{short}`" if short else "runs a script"
            said.append(command if short and step.name == "sh" else f"{command} with `{step.name}`")
        elif step.name == "echo":
            said.append(f"prints “{short}”" if short else "prints a message")
        elif step.name in ("checkout", "git"):
            said.append(f"checks out the sources with `{step.name}`")
        elif inner:
            said.append(f"uses `{step.name}` in which it {_listed(_told(inner)) or 'does nothing'}")
        else:
            said.append(f"calls `{step.name}` with `{short}`" if short else f"calls `{step.name}`")
    more = len(said) - _STEPS_TOLD
    return [*said[:_STEPS_TOLD], *([f"takes {more} more steps"] if more > 0 else [])]


def _body(call: Node | None) -> tuple[Node, ...]:
    return call.block.children if call is not None and call.block is not None else ()


def _body_of(call: Node, name: str) -> tuple[Node, ...]:
    return next((_body(node) for node in _body(call) if node.is_own_call and node.name == name), ())


def _first_text(call: Node) -> str:
    for argument in call.plain_arguments:
        if argument.text:
            return argument.text
        for key, value in argument.entries:
            if (key.text or key.name) in ("script", "message", "url", "image", "label") and value.text:
                return value.text
    return ""


def _named(what: str, names: Sequence[str]) -> str:
    return f"the {what} {names[0]}" if len(names) == 1 else f"the {what}s {_listed(names)}"


def _listed(items: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)


def as_declarative(code: str, parsed: ParsedFile) -> str | None:
    """The same Pipeline in Declarative form, or None if it does more than stages of plain steps on one node.

    Variables, conditions, loops and `try` need a person: where they stand, nothing is converted.

    Args:
        code: of a Scripted Pipeline.
        parsed: the same, parsed.
    """
    if len(parsed.statements) != 1 or parsed.functions or parsed.annotations:
        return None
    top = parsed.statements[0]
    parts = _body(top)
    if not (top.is_own_call and top.name == "node" and parts):
        return None
    # Strings and comments are blotted out, so that braces in them are not counted; lengths stay.
    bare = _STRING_OR_COMMENT.sub(lambda match: re.sub(r"[^\n'\"]", "_", match.group()), code)
    node = _NODE.search(bare)
    if node is None:
        return None
    if _is_plain(parts):
        stages = [("'Build'", node.end())]  # A stage is what Declarative Pipeline demands.
    elif all(part.is_own_call and part.name == "stage" and _is_plain(_body(part)) for part in parts):
        # From the code as it is: the names were blotted out above.
        found = [match for match in _STAGE.finditer(bare) if match.start() > node.start()]
        stages = [(code[match.start("name") : match.end("name")], match.end()) for match in found]
        if len(found) != len(parts):
            return None
    else:
        return None
    return _assembled(code, bare, code[node.start("label") : node.end("label")] if node["label"] else "", stages)


def _assembled(code: str, bare: str, label: str, stages: Sequence[tuple[str, int]]) -> str | None:
    """The Declarative frame around the bodies of blocks that begin at the given places."""
    lines = ["pipeline {", f"    agent {{ label {label} }}" if label else "    agent any", "    stages {"]
    for name, start in stages:
        end = _closing(bare, start)
        if end is None:
            return None
        body = [f"                {line}".rstrip() for line in _dedented(code[start:end])]
        lines += [f"        stage({name}) {{", "            steps {", *body, "            }", "        }"]
    return "\n".join([*lines, "    }", "}"])


def _is_plain(steps: Sequence[Node]) -> bool:
    return bool(steps) and all(
        step.is_own_call and step.name not in _NOT_IN_STEPS and (not _body(step) or _is_plain(_body(step)))
        for step in steps
    )


def _closing(bare: str, start: int) -> int | None:
    """Place of the brace that closes the block that begins at `start`."""
    depth = 1
    for place in range(start, len(bare)):
        depth += {"{": 1, "}": -1}.get(bare[place], 0)
        if depth == 0:
            return place
    return None


def _dedented(body: str) -> list[str]:
    lines = [line.rstrip() for line in body.strip("\n").split("\n") if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line[margin:] for line in lines]
