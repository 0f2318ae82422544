"""Syntax in a question that Declarative Pipeline does not have.

Its words may all occur in the sources (`post`, `skipped`), so that a search finds pages which would be quoted as if the
question were sound. What may stand in `post`, `when` and `agent` is known: the answer begins with it.
"""

import re
from functools import cache

from jeeves_gateway.quoting import is_chinese
from jeeves_shared.jenkinsfile.catalog import full_catalog

_NESTED = re.compile(r"\b(post|when|agent)\s*\{\s*([A-Za-z]\w*)")
_WHEN_FLAGS = ("beforeAgent", "beforeInput", "beforeOptions")


def made_up_note(question: str) -> str:
    """A sentence about the first thing in a question that its block does not know; empty if there is none."""
    for block, name in _NESTED.findall(question):
        known = _known()[block]
        if name in known:
            continue
        listed = ", ".join(f"`{one}`" for one in known)
        if is_chinese(question):
            return f"`{block}` 中没有 `{name}`，可用的有：{listed}。"
        return f"There is no `{name}` in `{block}` that I know of. It can hold {listed}."
    return ""


@cache
def _known() -> dict[str, tuple[str, ...]]:
    catalog = full_catalog()
    return {
        "post": catalog.post,
        "when": (*catalog.conditions, "expression", *_WHEN_FLAGS),
        "agent": tuple(catalog.agents),
    }
