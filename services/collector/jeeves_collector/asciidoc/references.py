"""`xref:` and `<<…>>` to links that a reader can open.

Source: https://docs.asciidoctor.org/asciidoc/latest/macros/xref/, https://docs.antora.org/antora/latest/page/xref/.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

_XREF = re.compile(r"(?<![\w\\])xref:(?P<target>[^\s\[\]]*)\[(?P<text>(?:\\\]|[^\]])*)\]")
_OWN_LINK = re.compile(r"(?<![\w\\])link:#(?P<anchor>[\w.:-]+)\[(?P<text>[^\]]*)\]")
_DOUBLE = re.compile(r"(?<![\\<])<<(?P<target>[^<>,\n]+)(?:,\s*(?P<text>[^<>]*))?>>")
_DOCUMENT = re.compile(r"\.(?:adoc|asciidoc|md|html)$")


@dataclass(frozen=True)
class Target:
    """A page that a reference names."""

    url: str
    title: str


class PageResolver(Protocol):
    """Finds the pages that references name."""

    def page(self, target: str) -> Target | None:
        """The page of a reference, without its fragment; None if there is none. Empty: the page itself."""
        ...


class References:
    """Resolves the references of one document.

    Args:
        pages: finds other pages.
        anchors: text of each id of this document.
        macros: base address by name of the site's own macros, `name:target[text]`.
    """

    def __init__(self, pages: PageResolver, anchors: Mapping[str, str], macros: Mapping[str, str]) -> None:
        self._pages = pages
        self._macros = macros
        names = "|".join(map(re.escape, macros))
        self._macro = (
            re.compile(rf"(?<![\w:/])(?P<name>{names}):(?P<target>[\w./-]+)\[(?P<text>[^\]]*)\]") if macros else None
        )
        self._anchors = anchors
        self._ids_by_title = {title.lower(): identifier for identifier, title in anchors.items() if title}
        self.unresolved: Counter[str] = Counter()
        """Targets that lead nowhere; their text stays, without a link."""

    def resolve(self, text: str) -> str:
        """Replace the references in a piece of AsciiDoc."""
        if "xref:" in text:
            text = _XREF.sub(lambda found: self._link(found["target"], found["text"]), text)
        if "link:#" in text:
            text = _OWN_LINK.sub(lambda found: self._link(f"#{found['anchor']}", found["text"]), text)
        if "<<" in text:
            text = _DOUBLE.sub(lambda found: self._link(_inner(found["target"]), found["text"] or ""), text)
        if self._macro is not None:
            text = self._macro.sub(self._macro_link, text)
        return text

    def _macro_link(self, found: re.Match[str]) -> str:
        return f"link:{self._macros[found['name']]}{found['target']}[{found['text'] or found['target']}]"

    def _link(self, reference: str, text: str) -> str:
        if reference.startswith(("https://", "http://")):
            return f"link:{reference}[{_shown(text)}]"
        path, _, anchor = reference.partition("#")
        page = self._pages.page(path)
        if page is None and path in self._anchors:
            # `xref:id[]`, without the `#`.
            page, path, anchor = self._pages.page(""), "", path
        if page is None:
            self.unresolved[reference] += 1
            return text.strip() or _readable(reference)
        shown = _shown(text)
        if not path:
            anchor, title = self._own_anchor(anchor)
            shown = shown or title
        shown = shown or page.title or _readable(reference)
        url = f"{page.url}#{anchor}" if anchor else page.url
        # Without an address of its own the document stays readable: the text alone.
        return f"link:++{url}++[{_escaped(shown)}]" if page.url else shown

    def _own_anchor(self, anchor: str) -> tuple[str, str]:
        if anchor in self._anchors:
            return anchor, self._anchors[anchor] or _readable(anchor)
        by_title = self._ids_by_title.get(anchor.lower())
        return (by_title or slug(anchor), anchor if " " in anchor else _readable(anchor))


def _inner(target: str) -> str:
    target = target.strip()
    if "#" in target or _DOCUMENT.search(target):
        return target
    return f"#{target}"


def slug(title: str) -> str:
    """The id that a site gives to a section without one of its own: lower case, words joined by hyphens."""
    return re.sub(r"[^\w]+", "-", title.lower()).strip("-")


def _shown(text: str) -> str:
    # `[text,window=_blank]`: attributes of the link, not text.
    return re.sub(r",\s*(?:window|role|opts|title)=.*$", "", text.strip()).strip('"') if text else ""


def _readable(reference: str) -> str:
    path, _, anchor = reference.partition("#")
    name = anchor or _DOCUMENT.sub("", path.rsplit("/", 1)[-1].rsplit(":", 1)[-1])
    return re.sub(r"[-_]+", " ", name).strip() or reference


def _escaped(text: str) -> str:
    return re.sub(r"(?<!\\)\]", r"\\]", text)
