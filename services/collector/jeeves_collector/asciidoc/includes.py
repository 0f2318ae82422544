"""What the attributes of an include select: tags, lines, indentation.

Source: https://docs.asciidoctor.org/asciidoc/latest/directives/include/.
"""

import re
from collections.abc import Mapping, Sequence

_ATTRIBUTE = re.compile(r"""\s*(?:(?P<name>[\w-]+)\s*=\s*)?(?:"(?P<quoted>[^"]*)"|(?P<plain>[^,]*))\s*(?:,|$)""")
_TAG = re.compile(r"(?:^|(?<=\W))(?P<kind>tag|end)::(?P<name>\S+?)\[\](?=\s|$|-->)")
_LINE_RANGE = re.compile(r"^(?P<first>\d+)(?:\.\.(?P<last>-?\d+)?)?$")


def parse_attribute_list(text: str) -> tuple[list[str], dict[str, str]]:
    """Positional and named values between the brackets of a directive or a block.

    Example: ``source,groovy,subs="attributes,quotes"`` gives ``["source", "groovy"]`` and
    ``{"subs": "attributes,quotes"}``.
    """
    positional: list[str] = []
    named: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _ATTRIBUTE.match(text, position)
        if found is None or found.end() == position:
            break
        value = found["quoted"] if found["quoted"] is not None else (found["plain"] or "").strip()
        if found["name"]:
            named[found["name"]] = value
        else:
            positional.append(value)
        position = found.end()
    return positional, named


def select_lines(lines: Sequence[str], attributes: Mapping[str, str]) -> list[str]:
    """The lines that an include asks for.

    Args:
        lines: of the included file.
        attributes: named attributes of the directive.
    """
    tags = attributes.get("tags") or attributes.get("tag")
    if tags:
        chosen = _tagged(lines, [tag.strip() for tag in re.split(r"[;,]", tags) if tag.strip()])
    elif ranges := attributes.get("lines"):
        chosen = _ranged(lines, ranges)
    else:
        chosen = [line for line in lines if not _TAG.search(line)]
    return _indented(chosen, int(attributes["indent"])) if attributes.get("indent", "").isdigit() else chosen


def _tagged(lines: Sequence[str], tags: Sequence[str]) -> list[str]:
    wanted = {tag for tag in tags if not tag.startswith("!")}
    unwanted = {tag[1:] for tag in tags if tag.startswith("!")}
    # Only exclusions, or `**`: what stands outside of any tag is wanted too.
    outside = "**" in wanted or not wanted
    any_tag = bool(wanted & {"*", "**"}) or not wanted
    chosen: list[str] = []
    open_tags: list[str] = []
    for line in lines:
        if found := _TAG.search(line):
            if found["kind"] == "tag":
                open_tags.append(found["name"])
            elif found["name"] in open_tags:
                open_tags.remove(found["name"])
            continue
        if not open_tags:
            selected = outside
        else:
            innermost = next((tag for tag in reversed(open_tags) if tag in wanted or tag in unwanted), None)
            selected = innermost in wanted if innermost else any_tag and "*" not in unwanted
        if selected:
            chosen.append(line)
    return chosen


def _ranged(lines: Sequence[str], ranges: str) -> list[str]:
    chosen: list[str] = []
    for part in re.split(r"[;,]", ranges):
        found = _LINE_RANGE.match(part.strip())
        if found is None:
            continue
        first = int(found["first"])
        if ".." not in part:
            last = first
        else:
            last = int(found["last"]) if found["last"] and not found["last"].startswith("-") else len(lines)
        chosen.extend(lines[max(first - 1, 0) : last])
    return [line for line in chosen if not _TAG.search(line)]


def _indented(lines: Sequence[str], columns: int) -> list[str]:
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [" " * columns + line[depth:] if line.strip() else line for line in lines]
