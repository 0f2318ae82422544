"""Public address of a document, so that a citation can be opened."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from jeeves_collector.antora import ROOT_MODULE, Place

_DOCUMENT_SUFFIX = re.compile(r"\.(?:adoc|asciidoc|md|markdown)$")
_FORGE = re.compile(
    r"^(?:https://|ssh://git@|git@)(?P<host>github\.com|gitlab\.com)[/:](?P<repository>[^/]+/[^/]+?)(?:\.git)?/?$"
)


@dataclass(frozen=True)
class KnownSite:
    """A site whose addresses do not follow from its layout.

    Attributes:
        components: base address by Antora component.
        attributes: AsciiDoc attributes that the site's own build sets.
        macros: base address by name of the site's own inline macro, `name:target[text]`.
    """

    components: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)


JENKINS = KnownSite(
    components={
        "user-docs": "https://www.jenkins.io/doc/book/",
        "tutorials": "https://www.jenkins.io/doc/tutorials/",
        "solutions": "https://www.jenkins.io/solutions/",
        "dev-docs": "https://www.jenkins.io/doc/developer/",
        "project": "https://www.jenkins.io/project/",
        "projects": "https://www.jenkins.io/projects/",
        "sigs": "https://www.jenkins.io/sigs/",
        "security": "https://www.jenkins.io/security/",
        "events": "https://www.jenkins.io/events/",
        "community": "https://www.jenkins.io/participate/",
        "books": "https://www.jenkins.io/books/",
        "download": "https://www.jenkins.io/download/",
        "images": "https://www.jenkins.io/artwork/",
        "about": "https://www.jenkins.io/",
    },
    attributes={
        "plugin": "https://plugins.jenkins.io/",
        "jira": "https://issues.jenkins.io/browse/",
        "jep": "https://github.com/jenkinsci/jep/tree/master/jep/",
    },
    macros={
        "plugin": "https://plugins.jenkins.io/",
        "jira": "https://issues.jenkins.io/browse/",
        "jep": "https://github.com/jenkinsci/jep/tree/master/jep/",
    },
)
_JENKINS_SIGNATURE = frozenset({"user-docs", "tutorials", "solutions", "dev-docs"})


def known_site(name: str, address: str, components: frozenset[str]) -> KnownSite | None:
    """The table of a site, or None where the generic rules hold.

    Args:
        name: of the source.
        address: of the source.
        components: names of its Antora components.
    """
    host = urlsplit(address).hostname or ""
    if host == "jenkins.io" or host.endswith(".jenkins.io"):
        return JENKINS
    if not address and components and (name == "docs.jenkins.io" or components >= _JENKINS_SIGNATURE):
        return JENKINS
    return None


class Addresses:
    """Addresses of the documents of one source.

    Args:
        address: base address that the recipe gives; may be empty.
        location: of the source; a repository at a known forge gives addresses too.
        site: table, if the site is a known one.
    """

    def __init__(self, address: str, location: str, site: KnownSite | None) -> None:
        self._address = address.rstrip("/")
        self._site = site
        forge = _FORGE.match(location)
        blob = "-/blob" if forge and forge["host"] == "gitlab.com" else "blob"
        self._forge = f"https://{forge['host']}/{forge['repository']}/{blob}/HEAD" if forge else ""

    def of(self, relative: PurePosixPath, place: Place | None) -> str:
        """Address of a document; empty if it has none.

        Args:
            relative: path below the source.
            place: in its Antora site, if it stands in one.
        """
        if place is not None and place.is_page:
            if self._site is not None:
                base = self._site.components.get(place.component.name)
                return _folder_address(base, place) if base else ""
            if self._address:
                return f"{self._address}/{_antora_path(place)}"
        if self._address:
            return f"{self._address}/{quote(str(relative))}"
        return f"{self._forge}/{quote(str(relative))}" if self._forge else ""


def _folder_address(base: str, place: Place) -> str:
    # `page.adoc` is published as `page/`, `index.adoc` as the folder itself.
    *folders, page = _DOCUMENT_SUFFIX.sub("", str(place.relative)).split("/")
    module = () if place.module == ROOT_MODULE else (place.module,)
    parts = (*module, *folders) if page == "index" else (*module, *folders, page)
    path = "/".join(quote(part) for part in parts)
    return f"{base}{path}/" if path else base


def _antora_path(place: Place) -> str:
    # Antora's default: /component/version/module/page.html, without ROOT and without an empty version.
    component = "" if place.component.name == ROOT_MODULE else place.component.name
    module = "" if place.module == ROOT_MODULE else place.module
    page = _DOCUMENT_SUFFIX.sub(".html", str(place.relative))
    return "/".join(quote(part) for part in (component, place.component.version, module, page) if part)
