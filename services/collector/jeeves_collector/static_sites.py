"""Layouts of awestruct and Jekyll: one file a page, its address made of its path, its date and its front matter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jeeves_collector.drops import Dropped
from jeeves_collector.markdown import read_yaml
from jeeves_shared.errors import SourceUnusable

_JEKYLL_SETTINGS = "_config.yml"
_AWESTRUCT_PAGES = "content"
_AWESTRUCT_SIGNS = ("_config", "_ext", "Rakefile")
_POST = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})-(?P<name>.+)")
_DATE_FOLDER = re.compile(r"\d{4}|\d{2}")
_JEKYLL_PRETTY = frozenset({"pretty"})


@dataclass(frozen=True)
class StaticSite:
    """A site whose pages are the files of a folder.

    Attributes:
        pages: folder of the pages, below the tree; `.` for the tree itself.
        pretty: a page `a/b.adoc` is published as `a/b/`, not as `a/b.html`.
    """

    pages: PurePosixPath
    pretty: bool

    def path_of(self, relative: PurePosixPath, front_matter: Mapping[str, Any]) -> str:
        """Path of a page below the site's address, without a slash in front; empty if it is not published.

        Args:
            relative: path of the file below the tree.
            front_matter: of the file; a `permalink` without placeholders counts.

        Source: https://jekyllrb.com/docs/permalinks/; awestruct's extensions Posts and Indexifier.
        """
        permalink = front_matter.get("permalink")
        if isinstance(permalink, str) and permalink.strip("/") and ":" not in permalink:
            return quote(permalink.lstrip("/"))
        if not relative.is_relative_to(self.pages):
            return ""
        below = relative.relative_to(self.pages)
        folders, stem = list(below.parts[:-1]), below.stem
        post = _POST.fullmatch(stem)
        if post is not None:
            while folders and (folders[-1] == "_posts" or _DATE_FOLDER.fullmatch(folders[-1])):
                folders.pop()
            folders += [post["year"], post["month"], post["day"]]
            stem = post["name"]
        if any(folder.startswith("_") for folder in folders):
            return ""
        if stem == "index":
            return "".join(f"{quote(folder)}/" for folder in folders)
        end = "/" if self.pretty else ".html"
        return "/".join(quote(part) for part in (*folders, stem)) + end


def find_static_site(root: Path, *, asked: bool) -> StaticSite | None:
    """The layout of a tree; None if it is neither awestruct's nor Jekyll's.

    Args:
        root: of the tree.
        asked: the recipe says that it is one of them: then the signs of a whole repository need not be there.

    Raises:
        SourceUnusable: the settings of Jekyll cannot be read.
    """
    settings = root / _JEKYLL_SETTINGS
    if settings.is_file():
        return StaticSite(PurePosixPath(), pretty=_jekyll_permalink(settings) in _JEKYLL_PRETTY)
    has_pages = (root / _AWESTRUCT_PAGES).is_dir()
    if has_pages and (asked or any((root / sign).exists() for sign in _AWESTRUCT_SIGNS)):
        return StaticSite(PurePosixPath(_AWESTRUCT_PAGES), pretty=True)
    return StaticSite(PurePosixPath(), pretty=True) if asked else None


def _jekyll_permalink(settings: Path) -> str:
    try:
        found = read_yaml(settings.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, Dropped) as exc:
        raise SourceUnusable(f"{settings.name} of the site cannot be read: mend it, or give `layout: plain`.") from exc
    return str(found.get("permalink", "")) if isinstance(found, dict) else ""
