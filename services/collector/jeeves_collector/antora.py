"""Antora's layout: components, modules, resource ids, navigation.

    <component>/antora.yml
    <component>/modules/<module>/{pages,partials,examples,images,attachments}/…
    <component>/modules/<module>/nav.adoc

Source: https://docs.antora.org/antora/latest/page/resource-id/, …/navigation/list-structures/.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from jeeves_collector.drops import Dropped
from jeeves_collector.encoding import decode
from jeeves_collector.markdown import read_yaml

ROOT_MODULE = "ROOT"
_FAMILIES = {
    "page": "pages",
    "partial": "partials",
    "example": "examples",
    "attachment": "attachments",
    "image": "images",
}
_RESOURCE = re.compile(
    r"^(?:(?P<version>[^@:$/]+)@)?(?:(?P<component>[\w.-]*):)?(?:(?P<module>[\w.-]*):)?"
    r"(?:(?P<family>page|partial|example|attachment|image)\$)?(?P<relative>[^:$]*)$"
)
_ENTRY = re.compile(r"^(?P<stars>\*+)[ \t]+(?P<text>\S.*)$")
_LIST_TITLE = re.compile(r"^\.(?P<text>[^\s.].*)$")
_XREF = re.compile(r"^xref:(?P<target>[^\[]+)\[(?P<text>[^\]]*)\]")


@dataclass(frozen=True)
class Component:
    """One `antora.yml`.

    Attributes:
        folder: that holds it.
        name, title, version: of the component; the version is empty for an unversioned one.
        attributes: that its pages see.
        navigation: files of the navigation, relative to the folder.
    """

    folder: Path
    name: str
    title: str
    version: str
    attributes: Mapping[str, str]
    navigation: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a file stands in an Antora site.

    Attributes:
        component: it belongs to.
        module: name, `ROOT` for the root module.
        family: folder below the module, such as `pages`; empty for a file outside of the families.
        relative: path below that folder.
    """

    component: Component
    module: str
    family: str
    relative: PurePosixPath

    @property
    def is_page(self) -> bool:
        """True for a page that is published; files whose path has a part with `_` in front are not."""
        return self.family == "pages" and not any(part.startswith("_") for part in self.relative.parts)


@dataclass
class AntoraSite:
    """All components below one folder.

    Args:
        components: as found.
    """

    components: tuple[Component, ...]
    _by_name: dict[str, list[Component]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for component in self.components:
            self._by_name.setdefault(component.name, []).append(component)

    def place(self, path: Path) -> Place | None:
        """Where a file stands; None outside of all components."""
        inside = [component for component in self.components if path.is_relative_to(component.folder)]
        if not inside:
            return None
        component = max(inside, key=lambda candidate: len(candidate.folder.parts))
        parts = path.relative_to(component.folder).parts
        if len(parts) < 3 or parts[0] != "modules":
            return None
        family = parts[2] if parts[2] in _FAMILIES.values() else ""
        return Place(component, parts[1], family, PurePosixPath(*parts[3 if family else 2 :]))

    def locate(self, target: str, place: Place, default_family: str = "page") -> tuple[Path, ...]:
        """Files that a resource id may mean, best first; they need not exist.

        Args:
            target: `[version@][component:][module:][family$]relative`.
            place: of the file that holds the id.
            default_family: where the id names none.
        """
        found = _RESOURCE.match(target)
        if found is None or not found["relative"]:
            return ()
        first, second = found["component"], found["module"]
        if second is not None:
            components = self._by_name.get(first or place.component.name, [])
            module = second or ROOT_MODULE
        else:
            # One name alone is a module of the own component.
            components, module = [place.component], (first or place.module)
        if not components:
            return ()
        component = next((one for one in components if one.version == found["version"]), components[-1])
        if place.component in components and not found["version"]:
            component = place.component
        folder = component.folder / "modules" / module
        family = _FAMILIES[found["family"] or default_family]
        relative = found["relative"]
        if relative.startswith("./"):
            relative = str(place.relative.parent / relative[2:])
        places = [folder / family / relative]
        if family != "pages":
            # Before Antora 1.1 these stood below the pages, and many still do.
            places.append(folder / "pages" / f"_{family}" / relative)
        return tuple(places)

    def elsewhere(self, target: str) -> Place | None:
        """Place of a page whose component is not among these; None for any other target."""
        found = _RESOURCE.match(target)
        if found is None or not found["component"] or found["module"] is None or not found["relative"]:
            return None
        if found["component"] in self._by_name or found["family"] not in (None, "page"):
            return None
        component = Component(Path(), found["component"], "", "", {}, ())
        return Place(component, found["module"] or ROOT_MODULE, "pages", PurePosixPath(found["relative"]))

    def navigation(self) -> dict[Path, tuple[str, ...]]:
        """Titles above each page that a navigation file lists, from the component down."""
        above: dict[Path, tuple[str, ...]] = {}
        for component in self.components:
            for name in component.navigation:
                path = component.folder / name
                # A list of navigation files is text from elsewhere: it may name any file of this machine.
                inside = path.resolve().is_relative_to(component.folder.resolve()) and ".." not in path.parts
                if inside and path.is_file():
                    self._read_navigation(path, component, above)
        return above

    def _read_navigation(self, path: Path, component: Component, above: dict[Path, tuple[str, ...]]) -> None:
        try:
            text = decode(path.read_bytes())
        except (OSError, Dropped):
            return
        parts = path.relative_to(component.folder).parts
        place = Place(component, parts[1] if len(parts) > 2 else ROOT_MODULE, "", PurePosixPath(path.name))
        trail: list[str] = [component.title]
        list_depth = 1
        for line in text.split("\n"):
            if title := _LIST_TITLE.match(line.strip()):
                del trail[1:]
                trail.append(self._entry(title["text"], place, (component.title,), above))
                list_depth = 2
            elif entry := _ENTRY.match(line.strip()):
                del trail[list_depth + len(entry["stars"]) - 1 :]
                trail.append(self._entry(entry["text"], place, tuple(trail), above))

    def _entry(self, text: str, place: Place, trail: tuple[str, ...], above: dict[Path, tuple[str, ...]]) -> str:
        found = _XREF.match(text)
        if found is None:
            return re.sub(r"(?:link:)?\S+\[([^\]]*)\].*", r"\1", text)
        pages = self.locate(found["target"].partition("#")[0], place)
        page = next((page for page in pages if page.is_file()), None)
        if page is None:
            return found["text"]
        above.setdefault(page, tuple(part for part in trail if part))
        return found["text"] or title_in(page)


def find_components(root: Path, files: list[Path]) -> AntoraSite:
    """Read each `antora.yml`.

    Args:
        root: of the source; an `antora.yml` above it counts too, for a source that is a part of a component.
        files: all `antora.yml` below it.
    """
    above = [folder / "antora.yml" for folder in root.parents[:4] if (folder / "antora.yml").is_file()]
    # A file above counts only if the root lies within its modules.
    above = [path for path in above if root.relative_to(path.parent).parts[:1] == ("modules",)]
    return AntoraSite(tuple(component for path in (*above, *files) if (component := _component(path)) is not None))


def _component(path: Path) -> Component | None:
    try:
        fields = read_yaml(decode(path.read_bytes()))
    except (OSError, Dropped):
        return None
    if not isinstance(fields, dict) or not fields.get("name"):
        return None
    name = str(fields["name"])
    attributes = fields["asciidoc"].get("attributes") if isinstance(fields.get("asciidoc"), dict) else None
    navigation = fields.get("nav") if isinstance(fields.get("nav"), list) else []
    return Component(
        folder=path.parent,
        name=name,
        title=str(fields.get("title") or name),
        version=str(fields.get("version") or "").lstrip("~"),
        attributes=attribute_texts(attributes),
        navigation=tuple(str(item) for item in navigation or []),
    )


def attribute_texts(attributes: Any) -> dict[str, str]:
    """AsciiDoc attributes of a YAML mapping; `@` at the end (a soft value) is dropped, false means not set."""
    if not isinstance(attributes, dict):
        return {}
    return {
        str(name): "" if value is True else str(value).removesuffix("@")
        for name, value in attributes.items()
        if value not in (False, None)
    }


_TITLE = re.compile(r"^(?:=|#)[ \t]+(\S.*)$", re.MULTILINE)
_TITLE_BYTES = 8192


def title_in(path: Path) -> str:
    """Title line of a file, in its own markup; empty if it has none near its beginning."""
    try:
        with path.open("rb") as file:
            head = file.read(_TITLE_BYTES).decode("utf-8", errors="ignore")
    except OSError:
        return ""
    found = _TITLE.search(head)
    return found.group(1).strip() if found else ""
