"""The names that a Declarative Pipeline may use, by the plugin that gives them (`catalog.yaml`)."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ALWAYS_THERE = frozenset({"core", "jeeves-library", "pipeline-model-definition", "workflow-job", "branch-api"})
"""Plugins that every controller with Declarative Pipeline has, and this project's own library."""

_FILE = Path(__file__).with_name("catalog.yaml")
_PARAMETER = re.compile(r"(?P<name>\w+)(?P<required>!?)(?::(?P<type>\w+))?$")
_TYPES = frozenset({"text", "int", "bool", "list", "cron", "object", "any"})


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as it is written before the colon.
        required: whether a call without it is refused.
        type: `text`, `int`, `bool`, `list`, `cron`, `object` (its fields may stand in its place) or
            `any`.
        choices: the only texts that it takes; empty where every text will do.
    """

    name: str
    required: bool
    type: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One step, option, trigger, parameter type, agent type or condition.

    Attributes:
        name: of the symbol.
        plugin: short name of the plugin that gives it.
        parameters: by name; empty and `free` where they are not checked.
        free: takes parameters that this catalog does not list.
        block: takes a `{ … }`.
        stage: an option that may also stand in a stage.
        bare: an agent type written without a block.
        children: conditions inside a condition; -1 for at least one.
        fields: of the one object that it takes, where they are known; they may stand in its place.
        single: parameter that a value without a name is for, where none is required.
    """

    name: str
    plugin: str
    parameters: Mapping[str, Parameter]
    free: bool = False
    block: bool = False
    stage: bool = False
    bare: bool = False
    children: int = 0
    single: str = ""
    fields: Mapping[str, Parameter] | None = None

    @property
    def required(self) -> tuple[Parameter, ...]:
        """The parameters that must be there."""
        return tuple(parameter for parameter in self.parameters.values() if parameter.required)

    @property
    def sole(self) -> Parameter | None:
        """What a single value without a name means."""
        if len(self.required) == 1:
            return self.required[0]
        if self.single:
            return self.parameters[self.single]
        return next(iter(self.parameters.values())) if len(self.parameters) == 1 else None


@dataclass(frozen=True)
class Catalog:
    """All names, by kind."""

    steps: Mapping[str, Entry]
    options: Mapping[str, Entry]
    triggers: Mapping[str, Entry]
    parameters: Mapping[str, Entry]
    agents: Mapping[str, Entry]
    conditions: Mapping[str, Entry]
    tools: Mapping[str, Entry]
    objects: Mapping[str, Entry]
    bindings: Mapping[str, Entry]
    post: tuple[str, ...]


def plugins_of(text: str) -> frozenset[str]:
    """The plugin names of a `plugins.txt`: `name`, `name:version` or `name:version:url` a line, `#` comments.

    Args:
        text: of the file.
    """
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return frozenset(line.split(":", 1)[0] for line in lines if line)


@cache
def full_catalog() -> Catalog:
    """Everything that is listed, whatever the plugins."""
    return _catalog(yaml.safe_load(_FILE.read_text(encoding="utf-8")), None)


def catalog_for(plugins: Iterable[str]) -> Catalog:
    """What a controller with these plugins offers.

    Args:
        plugins: short names; those that they always bring along are added.
    """
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    have = set(plugins) | ALWAYS_THERE
    waiting = list(have)
    while waiting:
        new = set(content["bundles"].get(waiting.pop(), ())) - have
        have |= new
        waiting += new
    return _catalog(content, have)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: all but about every sixth character are the same, and in order."""
    lowered = {word.lower(): word for word in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.82)
    return lowered[found[0]] if found else None


def misspelling_of(name: str, known: Iterable[str]) -> str | None:
    """The known name that slips of the fingers turned into this one; None if it may be a name of its own.

    Stricter than `nearest`: `checkoutSCM` and `gitCheckout` are steps of somebody's library, `chekout` is not.

    Args:
        name: as it stands in the file.
        known: what may have been meant.
    """
    lowered = name.lower()
    for word in known:
        meant = word.lower()
        slips = _slips(lowered, meant) if abs(len(lowered) - len(meant)) <= 2 else 3
        if sorted(lowered[:2]) != sorted(meant[:2]) and lowered[:1] != meant[:1]:
            continue  # the first letter is hardly ever wrong
        if len(meant) < 5:
            # `cat` is not `bat`: in short words only swapped letters count, and from four on a lost or doubled one.
            swapped = sorted(lowered) == sorted(meant)
            likely = slips <= 1 and (swapped or (len(meant) == 4 and len(lowered) != len(meant)))
        else:
            likely = slips <= (2 if len(meant) >= 8 else 1)
        if likely:
            return word
    return None


def _slips(one: str, other: str) -> int:
    """Letters added, lost, changed or swapped with their neighbour.

    Source: optimal string alignment; Damerau, A technique for computer detection and correction of spelling errors.
    """
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i] + [0] * len(other)
        for j, wanted in enumerate(other, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], earlier[j - 2] + 1)
    return row[-1]


def _catalog(content: dict[str, Any], plugins: set[str] | None) -> Catalog:
    def entries(kind: str) -> dict[str, Entry]:
        found = {name: _entry(name, fields, content["choices"]) for name, fields in content[kind].items()}
        return {name: entry for name, entry in found.items() if plugins is None or entry.plugin in plugins}

    return Catalog(
        steps=entries("steps"),
        options=entries("options"),
        triggers=entries("triggers"),
        parameters=entries("parameters"),
        agents=entries("agents"),
        conditions=entries("conditions"),
        tools=entries("tools"),
        objects=entries("objects"),
        bindings=entries("bindings"),
        post=tuple(content["post"]),
    )


def _entry(name: str, fields: dict[str, Any] | str, choices: Mapping[str, list[str]]) -> Entry:
    if isinstance(fields, str):
        fields = {"plugin": fields, "free": True}
    parameters = [_parameter(text, choices) for text in fields.get("parameters", "").split()]
    return Entry(
        name=name,
        plugin=fields.get("plugin", "pipeline-model-definition"),
        parameters={parameter.name: parameter for parameter in parameters},
        free=fields.get("free", False),
        block=fields.get("block", False),
        stage=fields.get("stage", False),
        bare=fields.get("none", False),
        children=fields.get("children", 0),
        single=fields.get("single", ""),
        fields=_fields(fields.get("fields"), choices),
    )


def _fields(text: str | None, choices: Mapping[str, list[str]]) -> Mapping[str, Parameter] | None:
    if text is None:
        return None
    return {field.name: field for field in (_parameter(part, choices) for part in text.split())}


def _parameter(text: str, choices: Mapping[str, list[str]]) -> Parameter:
    match = _PARAMETER.match(text)
    kind = (match["type"] or "text") if match else ""
    if match is None or (kind not in _TYPES and kind not in choices):
        raise ValueError(f"{_FILE.name}: {text!r} is not a parameter")
    if kind in choices:
        return Parameter(match["name"], bool(match["required"]), "text", tuple(choices[kind]))
    return Parameter(match["name"], bool(match["required"]), kind)
