"""What is known of failing builds: the rules of `rules.yaml`, checked when they are loaded.

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

_PLACE = re.compile(r"\{(\w+)\}")

Pattern = Annotated[re.Pattern[str], BeforeValidator(re.compile)]


class Rule(BaseModel):
    """A message that names a cause.

    Attributes:
        name: for the reply.
        failure_type: class of the failure.
        weight: 3 names the cause, 2 its area, 1 says only that something failed.
        needles: one of these stands in every line that the pattern matches; lower case.
        pattern: its named groups may stand in `cause` and `fix`.
        cause: one sentence.
        fix: steps, most likely first.
        search: what to look up; empty for the message itself.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    name: str
    failure_type: FailureType
    weight: Literal[1, 2, 3]
    needles: tuple[str, ...]
    pattern: Pattern
    cause: str
    fix: tuple[str, ...]
    search: str


@lru_cache(maxsize=1)
def rules() -> tuple[Rule, ...]:
    """All rules, in the order in which equal ones win."""
    text = files("jeeves_gateway.diagnosis").joinpath("rules.yaml").read_text(encoding="utf-8")
    return TypeAdapter(tuple[Rule, ...]).validate_python(yaml.safe_load(text))


def filled(template: str, match: re.Match[str]) -> str:
    """A text of a rule with the groups of a match; a group that did not take part is filled by one that did."""
    found = {name: value.strip() or "the end" for name, value in match.groupdict().items() if value is not None}
    other = next(iter(found.values()), "it")
    return _PLACE.sub(lambda place: found.get(place[1], other), template)
