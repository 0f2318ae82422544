"""The HTML that editors of posts write, to Markdown at some ten times the speed of a parser for any HTML.

Elements of a short list, each closed, attributes between double quotes, a few entities: nine of ten posts are no more
than that. Such HTML has one reading, so a small tree is enough; the Markdown itself comes from markdownify, whose rules
for white space are repeated here for that tree. Everything else is refused, and `html` reads it with BeautifulSoup. A
test holds the two against each other.

Source: markdownify 1.2, `process_tag` and `process_text`; BeautifulSoup 4.15, `endData`, for the tree of html.parser.
"""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

_HEADINGS = frozenset(f"h{level}" for level in range(1, 7))
_BLOCKS = _HEADINGS | {"p", "blockquote", "ol", "ul", "li"}
_VOID = frozenset({"br", "hr", "img"})
_INLINE = frozenset({"a", "b", "strong", "i", "em", "code", "kbd", "del", "s", "sub", "sup", "span"})
_ELEMENTS = _BLOCKS | _VOID | _INLINE | {"pre"}
_LISTS = frozenset({"ul", "ol"})
_CODE = frozenset({"code", "kbd"})
_CONTEXT = {
    name: frozenset({name, *(["_inline"] if name in _HEADINGS else []), *(["_noformat"] if name in _CODE else [])})
    for name in (*_ELEMENTS, "[document]")
}
_TAG = re.compile(r'(/?)([a-z][a-z0-9]*)((?: [a-z-]+="[^"<>]*")*) ?(/?)>')
_ATTRIBUTE = re.compile(r' ([a-z-]+)="([^"]*)"')
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#39);")
_ODD = re.compile(r"[\0\r\f\v\x1c-\x1f]")
_BLANK = re.compile(r"[ \t\n]+")
_LINE_ENDS = re.compile(r"[\t \n]*\n[\t \n]*")
_SPACES = re.compile(r"[\t ]+")
_EDGES = re.compile(r"(\n*)((?:.*[^\n])?)(\n*)", re.DOTALL)
_DEPTH_MAX = 50


class Node:
    """An element, with as much of BeautifulSoup's `Tag` as markdownify's rules ask for."""

    __slots__ = ("attrs", "children", "name", "parent")

    def __init__(self, name: str, attrs: dict[str, str], parent: "Node | None") -> None:
        self.name = name
        self.attrs = attrs
        self.parent = parent
        self.children: list[Node | str] = []

    def get(self, name: str) -> str | None:
        """Value of an attribute."""
        return self.attrs.get(name)

    def find_previous_siblings(self, name: str) -> list["Node"]:
        """The elements of that name before this one."""
        found: list[Node] = []
        for one in self.parent.children if self.parent else ():
            if one is self:
                break
            if isinstance(one, Node) and one.name == name:
                found.append(one)
        return found

    def descendants(self) -> Iterator["Node"]:
        """All elements inside."""
        for one in self.children:
            if isinstance(one, Node):
                yield one
                yield from one.descendants()

    def text(self) -> str:
        """All text inside."""
        return "".join(one if isinstance(one, str) else one.text() for one in self.children)

    def names(self) -> list[str]:
        """The words of its class."""
        return self.attrs.get("class", "").split()


def read_plain(markup: str) -> Node | None:
    """The tree of some HTML; None if it is not of the plain kind."""
    if _ODD.search(markup) or markup.count("&") != len(_ENTITY.findall(markup)):
        return None
    current = root = Node("[document]", {}, None)
    depth = preserved = 0
    first, *parts = markup.split("<")
    _add_text(root, first, preserved=False)
    for part in parts:
        found = _TAG.match(part)
        if found is None:
            return None
        closing, name, attributes, closed = found.groups()
        if closing:
            if attributes or closed or name != current.name or current.parent is None:
                return None
            preserved -= name == "pre"
            depth -= 1
            current = current.parent
        else:
            if name not in _ELEMENTS or (preserved and name != "code"):
                return None
            attrs = {key: html.unescape(value) for key, value in _ATTRIBUTE.findall(attributes)}
            node = Node(name, attrs, current)
            current.children.append(node)
            if name not in _VOID:
                depth += 1
                if closed or depth > _DEPTH_MAX:
                    return None
                preserved += name == "pre"
                current = node
        _add_text(current, part[found.end() :], preserved=bool(preserved))
    return root if current is root else None


def _add_text(node: Node, text: str, *, preserved: bool) -> None:
    if not text:
        return
    if not preserved and _BLANK.fullmatch(text):
        text = "\n" if "\n" in text else " "
    node.children.append(html.unescape(text) if "&" in text else text)


def replace_elements(node: Node, name: str, replace: Callable[[Node], Node | None]) -> None:
    """Put something else, or nothing, in the place of each element of a name."""
    children: list[Node | str] = []
    for one in node.children:
        if isinstance(one, Node):
            if one.name == name:
                made = replace(one)
                if made is not None:
                    children.append(made)
                continue
            replace_elements(one, name, replace)
        children.append(one)
    node.children = children


class PlainConverter:
    """markdownify on such a tree.

    Args:
        rules: a `MarkdownConverter`, for what becomes of each element; it never sees the whole tree.
    """

    def __init__(self, rules: Any) -> None:
        self._rules = rules

    def convert(self, root: Node) -> str:
        """Markdown of a tree without `pre`."""
        return self._of_node(root, frozenset())

    def _of_node(self, node: Node, context: frozenset[str]) -> str:
        inside = context | _CONTEXT[node.name]
        is_block = node.name in _BLOCKS
        last = len(node.children) - 1
        parts: list[str] = [""]
        for position, child in enumerate(node.children):
            if isinstance(child, Node):
                text = self._of_node(child, inside)
            else:
                before = is_block if position == 0 else _is_block(node.children[position - 1])
                after = is_block if position == last else _is_block(node.children[position + 1])
                text = self._of_text(child, inside, before=before, after=after)
            if not text:
                continue
            edges = _EDGES.fullmatch(text)
            assert edges is not None  # noqa: S101 - for mypy: it matches any text
            leading, content, trailing = edges.groups()
            if parts[-1] and leading:
                leading = "\n" * min(2, max(len(parts.pop()), len(leading)))
            parts.extend((leading, content, trailing))
        whole = "".join(parts)
        if node.name in _LISTS:
            return _list(node, whole, context)
        convert = self._rules.get_conv_fn_cached(node.name)
        return str(convert(node, whole, parent_tags=context)) if convert is not None else whole

    def _of_text(self, text: str, context: frozenset[str], *, before: bool, after: bool) -> str:
        # `before`, `after`: whether a block begins or ends there.
        if (before or after) and not text.strip():
            return ""
        # Most texts have one blank between two words, and no need of the expressions.
        if "\n" in text:
            text = _LINE_ENDS.sub("\n", text)
        if "  " in text or "\t" in text:
            text = _SPACES.sub(" ", text)
        if "_noformat" not in context:
            text = self._rules.escape(text, context)
        if before:
            text = text.lstrip(" \t\r\n")
        return text.rstrip() if after else text


def _list(node: Node, text: str, context: frozenset[str]) -> str:
    # The rule of markdownify asks for siblings, by BeautifulSoup's types.
    if "li" in context:
        return "\n" + text.rstrip()
    siblings = node.parent.children if node.parent else []
    following = siblings[siblings.index(node) + 1 :]
    content = next((one for one in following if isinstance(one, Node) or one.strip()), None)
    ends = content is not None and not (isinstance(content, Node) and content.name in _LISTS)
    return "\n\n" + text + ("\n" if ends else "")


def _is_block(child: Node | str) -> bool:
    return isinstance(child, Node) and child.name in _BLOCKS
