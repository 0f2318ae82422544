"""HTML of forums, answers and plugin pages to Markdown. Code passes through untouched.

As with AsciiDoc, code leaves the text before the converter sees it and comes back behind it: the converter decides
where a block belongs (in which list item or quote), the block's text is never wrapped, indented or escaped.
"""

import re
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag
from bs4.element import Comment, NavigableString
from markdownify import MarkdownConverter

from jeeves_collector.asciidoc.code_blocks import CodeBlock, fence
from jeeves_collector.plain_html import Node, PlainConverter, read_plain, replace_elements

_PLACEHOLDER = re.compile(r"^(?P<prefix>.*?)JEEVESHTML(?P<number>\d+)X[ \t]*$", re.MULTILINE)
_PLACEHOLDER_TEXT = re.compile(r"JEEVESHTML(\d+)X")
_NOT_TEXT = ("script", "style", "template", "noscript", "iframe", "form", "button", "svg", "object", "embed", "meta")
_LANGUAGE = re.compile(r"^(?:lang|language|highlight-source|brush:?)-(?P<name>[\w+#.-]+)$")
_NO_LANGUAGE = frozenset({"auto", "none", "nohighlight", "plaintext", "text", "default"})
_BULLET = re.compile(r"(?:[-*+]|\d+[.)])[ \t]+")
_ACTIVE = re.compile(r"(?:javascript|data|vbscript):", re.IGNORECASE)
NESTING_MAX = 200
"""Deeper elements are text without structure: no person writes them, and the converter recurses."""


@dataclass(frozen=True)
class HtmlText:
    """What a piece of HTML says.

    Attributes:
        markdown: with code in fences.
        code_blocks: how many.
    """

    markdown: str
    code_blocks: int


def to_markdown(html: str, base: str = "") -> HtmlText:
    """Convert a fragment of HTML.

    Args:
        html: as received; scripts, forms and frames are left out.
        base: address that relative links and images are resolved against; empty: they stay.
    """
    # A text of the placeholders' form would be taken for one.
    markup = html.replace("\r\n", "\n")
    if "JEEVESHTML" in markup:
        markup = _PLACEHOLDER_TEXT.sub(r"JEEVESHTML \1 X", markup)
    tree = read_plain(markup)
    return _of_plain(tree, base) if tree is not None else _of_any(markup, base)


_RULES = MarkdownConverter(heading_style="ATX", bullets="-", strong_em_symbol="*")


def _of_plain(tree: Node, base: str) -> HtmlText:
    blocks: list[CodeBlock] = []

    def take(pre: Node) -> Node | None:
        text = _code_text(pre.text())
        if not text.strip():
            return None
        code = next((one for one in pre.children if isinstance(one, Node)), pre)
        named = (pre, code, pre.parent or pre)
        paragraph = Node("p", {}, pre.parent)
        paragraph.children.append(f"JEEVESHTML{len(blocks)}X")
        blocks.append(CodeBlock(_language([name for one in named for name in one.names()]), text))
        return paragraph

    replace_elements(tree, "pre", take)
    for node in tree.descendants():
        for part in ("href", "src"):
            if node.attrs.get(part):
                _set_link(node.attrs, part, base)
    return HtmlText(_restore(_tidy(PlainConverter(_RULES).convert(tree)), blocks), len(blocks))


def _of_any(markup: str, base: str) -> HtmlText:
    soup = BeautifulSoup(markup, "html.parser")
    for comment in soup.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for tag in soup.find_all(_NOT_TEXT):
        tag.decompose()
    _flatten(soup)
    for image in soup.find_all("img", class_="emoji"):
        image.replace_with(NavigableString(str(image.get("alt") or "")))
    blocks = _take_code(soup)
    _open_tables(soup)
    for tag in soup.find_all(True):
        for part in ("href", "src"):
            if tag.get(part):
                _set_link(tag.attrs, part, base)
    markdown = _RULES.convert_soup(soup)
    return HtmlText(_restore(_tidy(markdown), blocks), len(blocks))


def _flatten(soup: BeautifulSoup) -> None:
    for tag in soup.find_all(True):
        if tag.parent is not None and len(list(tag.parents)) > NESTING_MAX:
            tag.unwrap()


def _take_code(soup: BeautifulSoup) -> list[CodeBlock]:
    blocks: list[CodeBlock] = []
    for pre in soup.find_all("pre"):
        if pre.find_parent("pre") is not None or pre.parent is None:
            continue
        for line_break in pre.find_all("br"):
            line_break.replace_with("\n")
        text = _code_text(pre.get_text())
        if not text.strip():
            pre.decompose()
            continue
        paragraph = soup.new_tag("p")
        paragraph.append(NavigableString(f"JEEVESHTML{len(blocks)}X"))
        blocks.append(CodeBlock(_language(_class_names(pre)), text))
        pre.replace_with(paragraph)
    return blocks


def _open_tables(soup: BeautifulSoup) -> None:
    # A cell of a Markdown table is one line; a table that holds code was for its looks, and is read cell by cell.
    for table in soup.find_all("table"):
        if _PLACEHOLDER_TEXT.search(table.get_text()):
            for tag in table.find_all(["thead", "tbody", "tfoot", "tr", "colgroup", "col"]):
                tag.unwrap()
            for cell in table.find_all(["td", "th", "caption"]):
                cell.name = "div"
            table.name = "div"


def _code_text(text: str) -> str:
    # The first line end in `pre` is no part of it (HTML, 13.2.6.4.7); a last one is the end of its last line.
    return text.removeprefix("\r\n").removeprefix("\n").replace("\r\n", "\n").rstrip("\n")


def _class_names(pre: Tag) -> list[str]:
    tags = [pre, *pre.find_all("code", limit=1), *([pre.parent] if pre.parent is not None else [])]
    return [str(name) for tag in tags for name in tag.get("class") or ()]


def _language(class_names: Iterable[str]) -> str:
    for name in class_names:
        found = _LANGUAGE.match(name)
        if found and found["name"].lower() not in _NO_LANGUAGE:
            return found["name"].lower()
    return ""


def _set_link(attributes: MutableMapping[str, Any], part: str, base: str) -> None:
    """Resolve the address in an attribute, or remove what is none that a reader could follow."""
    target = str(attributes[part]).strip()
    try:
        resolved = urljoin(base, target) if base else target
    except ValueError:
        resolved = ""
    if _ACTIVE.match(resolved) or not resolved:
        del attributes[part]
    else:
        attributes[part] = resolved


def _tidy(markdown: str) -> str:
    lines = [line.rstrip() for line in markdown.replace("\r\n", "\n").replace("\0", "").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _restore(markdown: str, blocks: Sequence[CodeBlock]) -> str:
    placed: set[int] = set()

    def block(found: re.Match[str]) -> str:
        number = int(found["number"])
        placed.add(number)
        prefix = found["prefix"]
        inner = _BULLET.sub(lambda bullet: " " * len(bullet[0]), prefix)
        if re.sub(r"[ \t>]", "", inner):
            # Text before the block on its line: the block begins on a line of its own.
            quote = re.match(r"[ \t>]*", prefix)
            inner = quote[0] if quote else ""
            return f"{prefix.rstrip()}\n{inner.rstrip()}\n{fence(blocks[number], inner)}"
        return fence(blocks[number], inner, prefix)

    if not blocks:
        return markdown
    # A line of a table may hold several; each but the last is moved to a line of its own first.
    text = re.sub(r"(JEEVESHTML\d+X)(?=.*JEEVESHTML)", "\\1\n\n", markdown)
    text = re.sub(r"(JEEVESHTML\d+X)[ \t]*(?=\S)", "\\1\n\n", text)
    restored = _PLACEHOLDER.sub(block, text)
    # What the converter lost (a block in a place where it takes no text) stands at the end: nothing is ever lost.
    lost = [fence(one) for number, one in enumerate(blocks) if number not in placed]
    return "\n\n".join(part for part in (restored, *lost) if part)
