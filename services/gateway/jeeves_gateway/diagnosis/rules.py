"""What is known of failing builds: the rules of the folder `rule_files`, checked when they are loaded.

A rule is found by a plain word first, then by its pattern, whose groups fill the texts. The search text leads to the
section of the documentation that explains the failure.
"""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, ClassVar, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter

from jeeves_shared.contracts.diagnosis import FailureType

_NOTHING = "the end"
_PLACE = re.compile(r"\{(\w+)\}")

_FILES = ("machines", "pipeline", "scm", "network", "builds", "general")
"""In the order in which equal rules win: what is nearer to the machine first."""

Pattern = Annotated[re.Pattern[str], BeforeValidator(re.compile)]


class Rule(BaseModel):
    """A message that names a cause.

    Attributes:
        name: for the reply.
        failure_type: class of the failure.
        weight: 5 names a cause that makes others fail (memory, disk), 4 a cause, 3 its area, 2 has words of an area, 1
            only says that something failed.
        needles: one of these stands in every line that the pattern matches; lower case.
        pattern: its named groups may stand in `cause` and `fix`.
        cause: one sentence.
        fix: steps, most likely first.
        search: what to look up; empty for the message itself.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    name: str
    failure_type: FailureType
    weight: Literal[1, 2, 3, 4, 5]
    needles: tuple[str, ...]
    pattern: Pattern
    cause: str
    fix: tuple[str, ...]
    search: str


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """All rules, the weightiest first: of several that a line matches, the first one counts."""
    folder = files("jeeves_gateway.diagnosis").joinpath("rule_files")
    read = TypeAdapter(tuple[Rule, ...])
    found = [
        rule
        for name in _FILES
        for rule in read.validate_python(yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")))
    ]
    return tuple(sorted(found, key=lambda rule: -rule.weight))


def filled(template: str, match: re.Match[str]) -> str:
    """A text of a rule with the groups of a match; a group that did not take part is filled by one that did."""
    found = {name: value.strip() or _NOTHING for name, value in match.groupdict().items() if value is not None}
    other = next(iter(found.values()), "it")
    # What was not there is no code.
    return _PLACE.sub(lambda place: found.get(place[1], other), template).replace(f"`{_NOTHING}`", _NOTHING)
