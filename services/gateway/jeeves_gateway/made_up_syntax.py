"""Syntax in a question that Declarative Pipeline, a step or Configuration as Code does not have.

Its words may all occur in the sources (`post`, `skipped`), so that a search finds pages which would be quoted as if the
question were sound. What may stand in `post`, `when` and `agent`, the directives, the parameters of the common steps
and the root elements of Configuration as Code are known: the answer begins with it.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache

from jeeves_gateway.quoting import is_chinese
from jeeves_shared.jenkinsfile.catalog import full_catalog

_NESTED = re.compile(r"\b(post|when|agent)\s*\{\s*([A-Za-z]\w*)")
_WHEN_FLAGS = ("beforeAgent", "beforeInput", "beforeOptions")

_DIRECTIVE_NAMES = """
agent stages stage steps post environment options parameters triggers tools input when parallel matrix axes axis
excludes exclude libraries script
"""
_DIRECTIVES = tuple(_DIRECTIVE_NAMES.split())
_KNOWN_DIRECTIVES = frozenset((*_DIRECTIVES, "pipeline", "values", "notValues", "name", "failFast", "node", "tool"))
_DIRECTIVE = re.compile(
    r"(?i)\b(?:directive|section)s?,? `(?P<before>[A-Za-z]\w*)[^`\w]*`"
    r"|`(?P<after>[A-Za-z]\w*)[^`\w]*`,? (?:directive|section)\b"
)
_OF_DECLARATIVE = re.compile(r"(?i)\bdeclarative\b|\bjenkinsfile\b")

_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"[A-Za-z]\w*")
_CALL = re.compile(r"([A-Za-z]\w*)(?:\s*\((?P<inside>.*)\)|\s+(?P<rest>.*))$")
_NESTING = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|'[^']*'|\"[^\"]*\"")
_KEY = re.compile(r"\b([A-Za-z]\w*)\s*:")
_ASKS_FOR_PARAMETER = re.compile(r"(?i)\b(?:parameter|option|argument|flag)s?\b|参数|选项")
_WITH_PARTS_OF_THEIR_OWN = frozenset(
    {"stage", "node", "parallel", "script", "matrix", "pipeline", "properties", "step"}
)

_ROOTS = ("jenkins", "tool", "unclassified", "security", "credentials", "appearance", "jobs")
_KNOWN_ROOTS = frozenset(
    (*_ROOTS, "groovy", "aws", "configuration-as-code", "globalCredentialsConfiguration", "plugins", "support")
)
_OF_JCASC = re.compile(r"(?i)\bjcasc\b|configuration as code|\bcasc\b")
_ROOT = re.compile(
    r"(?i)\b(?:(?:root|top[- ]level) (?:element|key|section|block|entry)|section|root) `([A-Za-z][\w-]*):?`"
    r"|`([A-Za-z][\w-]*):?` (?:(?:root|top[- ]level) )?(?:element|section|root)\b"
)


def made_up_note(question: str) -> str:
    """A sentence about the first thing in a question that its place does not know; empty if there is none."""
    checks: tuple[Callable[[str], str], ...] = (_nested_note, _parameter_note, _directive_note, _root_note)
    return next((note for check in checks if (note := check(question))), "")


def _nested_note(question: str) -> str:
    for block, name in _NESTED.findall(question):
        if name not in (known := _known()[block]):
            listed = _listed(known)
            if is_chinese(question):
                return f"`{block}` 中没有 `{name}`，可用的有：{listed}。"
            return f"There is no `{name}` in `{block}` that I know of. It can hold {listed}."
    return ""


def _parameter_note(question: str) -> str:
    for step, name in _asked_parameters(question):
        if name not in (known := _parameters()[step]):
            listed = _listed(known)
            if is_chinese(question):
                return f"`{step}` 没有参数 `{name}`，可用的有：{listed or '无'}。"
            takes = f"It takes {listed}." if listed else "It takes none."
            return f"`{step}` has no parameter `{name}` that I know of. {takes}"
    return ""


def _asked_parameters(question: str) -> Iterable[tuple[str, str]]:
    """Steps and names that a question uses, or asks about, as their parameters."""
    codes = _CODE.findall(question)
    for code in codes:
        call = _CALL.match(code.strip())
        if call and call[1] in _parameters():
            inside = call["inside"] or call["rest"] or ""
            while (shorter := _NESTING.sub("", inside)) != inside:
                inside = shorter
            yield from ((call[1], key) for key in _KEY.findall(inside))
    if not _ASKS_FOR_PARAMETER.search(question):
        return
    steps = [code for code in codes if code.strip("(){} ") in _parameters()]
    if len(steps) == 1:
        step = steps[0].strip("(){} ")
        for code in codes:
            # `returnDuration: true` as well as `quorum`; a value in quotes or a path is no name.
            name = code.partition(":")[0].strip()
            if (
                code != steps[0]
                and _NAME.fullmatch(name)
                and not name.isupper()
                and (":" in code or name not in _places())
            ):
                yield step, name


def _directive_note(question: str) -> str:
    if not _OF_DECLARATIVE.search(question):
        return ""
    for match in _DIRECTIVE.finditer(question):
        name = match["before"] or match["after"]
        if name not in _places():
            listed = _listed(_DIRECTIVES)
            if is_chinese(question):
                return f"声明式流水线中没有指令 `{name}`，可用的有：{listed}。"
            return f"There is no section or directive `{name}` in Declarative Pipeline that I know of. It has {listed}."
    return ""


def _root_note(question: str) -> str:
    if not _OF_JCASC.search(question):
        return ""
    for match in _ROOT.finditer(question):
        name = match[1] or match[2]
        if name not in _KNOWN_ROOTS:
            return (
                f"There is no root element `{name}` in Configuration as Code that I know of. It has {_listed(_ROOTS)}."
            )
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


@cache
def _known() -> dict[str, tuple[str, ...]]:
    catalog = full_catalog()
    return {
        "post": catalog.post,
        "when": (*catalog.conditions, "expression", *_WHEN_FLAGS),
        "agent": tuple(catalog.agents),
    }


@cache
def _parameters() -> dict[str, tuple[str, ...]]:
    """Of the steps whose parameters are all known; what an option of the same name takes is theirs too."""
    catalog = full_catalog()
    return {
        name: tuple(entry.parameters)
        for name, entry in catalog.steps.items()
        if not entry.free and not entry.fields and name not in _WITH_PARTS_OF_THEIR_OWN
    }


@cache
def _places() -> frozenset[str]:
    """What may be named beside a step without being its parameter: directives, steps, what stands in `post`."""
    catalog = full_catalog()
    names = (catalog.steps, catalog.options, catalog.triggers, catalog.parameters, catalog.agents, catalog.conditions)
    return _KNOWN_DIRECTIVES.union(catalog.post, *names)
