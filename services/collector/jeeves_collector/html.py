"""HTML of forums, answers and plugin pages to Markdown. Code passes through untouched.

As with AsciiDoc, code leaves the text before the converter sees it and comes back behind it: the converter decides
where a block belongs (in which list item or quote), the block's text is never wrapped, indented or escaped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag
from bs4.element import Comment, NavigableString
from markdownify import MarkdownConverter

from jeeves_collector.asciidoc.code_blocks import CodeBlock, fence

_PLACEHOLDER = re.compile(r"^(?P<prefix>.*?)JEEVESHTML(?P<number>\d+)X[ \t]*$", re.MULTILINE)
_PLACEHOLDER_TEXT = re.compile(r"JEEVESHTML(\d+)X")
_NOT_TEXT = ("script", "style", "template", "noscript", "iframe", "form", "button", "svg", "object", "embed", "meta")
_LANGUAGE = re.compile(r"^(?:lang|language|highlight-source|brush:?)-(?P<name>[\w+#.-]+)$")
_NO_LANGUAGE = frozenset({"auto", "none", "nohighlight", "plaintext", "text", "default"})
_BULLET = re.compile(r"(?:[-*+]|\d+[.)])[ \t]+")
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
    soup = BeautifulSoup(_PLACEHOLDER_TEXT.sub(r"JEEVESHTML \1 X", html), "html.parser")
    for comment in soup.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for tag in soup.find_all(_NOT_TEXT):
        tag.decompose()
    _flatten(soup)
    for image in soup.find_all("img", class_="emoji"):
        image.replace_with(NavigableString(str(image.get("alt") or "")))
    blocks = _take_code(soup)
    _open_tables(soup)
    _resolve_links(soup, base)
    markdown = MarkdownConverter(heading_style="ATX", bullets="-", strong_em_symbol="*").convert_soup(soup)
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
        text = pre.get_text()
        # The first line end in `pre` is no part of it (HTML, 13.2.6.4.7); a last one is the end of its last line.
        text = text.removeprefix("\r\n").removeprefix("\n").replace("\r\n", "\n").rstrip("\n")
        if not text.strip():
            pre.decompose()
            continue
        paragraph = soup.new_tag("p")
        paragraph.append(NavigableString(f"JEEVESHTML{len(blocks)}X"))
        blocks.append(CodeBlock(_language(pre), text))
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


def _language(pre: Tag) -> str:
    tags = [pre, *pre.find_all("code", limit=1), *([pre.parent] if pre.parent is not None else [])]
    for tag in tags:
        for word in tag.get("class") or ():
            found = _LANGUAGE.match(str(word))
            if found and found["name"].lower() not in _NO_LANGUAGE:
                return found["name"].lower()
    return ""


def _resolve_links(soup: BeautifulSoup, base: str) -> None:
    linked = [(tag, part) for tag in soup.find_all(True) for part in ("href", "src") if tag.get(part)]
    for tag, part in linked:
        target = str(tag[part]).strip()
        try:
            resolved = urljoin(base, target) if base else target
        except ValueError:
            resolved = ""
        if re.match(r"(?i)(?:javascript|data|vbscript):", resolved) or not resolved:
            del tag[part]
        else:
            tag[part] = resolved


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

    # A line of a table may hold several; each but the last is moved to a line of its own first.
    text = re.sub(r"(JEEVESHTML\d+X)(?=.*JEEVESHTML)", "\\1\n\n", markdown)
    text = re.sub(r"(JEEVESHTML\d+X)[ \t]*(?=\S)", "\\1\n\n", text)
    restored = _PLACEHOLDER.sub(block, text)
    # What the converter lost (a block in a place where it takes no text) stands at the end: nothing is ever lost.
    lost = [fence(one) for number, one in enumerate(blocks) if number not in placed]
    return "\n\n".join(part for part in (restored, *lost) if part)
