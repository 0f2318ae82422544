"""Source `plugins`: an update centre, and the documentation that the plugin site shows.

Source: https://www.jenkins.io/doc/developer/plugin-development/ (update centre);
https://github.com/jenkins-infra/plugin-site-api (`/plugin/{name}`: `wiki.content`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.encoding import language_of
from jeeves_collector.html import to_markdown
from jeeves_collector.markdown import scan_fences
from jeeves_collector.outgoing.errors import RemoteDenied, RemoteError, RemoteMissing, ResponseMalformed
from jeeves_collector.outgoing.fetcher import Validators
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.sources.threads import one_line
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import Document, Provenance
from jeeves_shared.contracts.sources import PluginsSource

_CENTRE_BYTES_MAX = 128 * 1024**2
_PREFIX, _SUFFIX = b"updateCenter.post(", b");"
"""Around the JSON, where the centre gives it as a script."""
_Json = Mapping[str, Any]


class Plugins:
    """Reads the plugins of an update centre.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: PluginsSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self._fetcher = workplace.fetcher(source, obey_robots=True)

    @property
    def figures(self) -> FetchFigures:
        """What was asked of others so far."""
        return self._fetcher.figures

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """One plugin a page, by name; none if the update centre did not change."""
        known = Validators(**past.watermark.get("validators", {})) if past.cursor is None else None
        with self._fetcher:
            answer = self._fetcher.get(self._source.address, validators=known, bytes_max=_CENTRE_BYTES_MAX)
            if answer.status == 304:
                yield Finished(
                    past.watermark, all_unchanged=True, source_revision=str(past.watermark.get("sha256", ""))
                )
                return
            plugins, warnings = self._centre(answer.body)
            names = [name for name in sorted(plugins) if not self._source.plugins or name in self._source.plugins]
            for done, name in enumerate(names):
                revision = content_hash([plugins[name], warnings.get(name, [])])
                if past.revision(name) == revision:
                    yield Page(unchanged=(name,))
                else:
                    item = self._item(name, plugins[name], warnings.get(name, []), revision)
                    yield Page((item,), cursor={"after": name}, done=done / len(names), message=name)
            gone = [name for name in self._source.plugins if name not in plugins]
            drops = [
                Drop(f"{self._source.name}/{name}", DropReason.GONE.value, "not in the update centre") for name in gone
            ]
            yield Page(tuple(Item(f"\0{drop.item}", "", drops=(drop,)) for drop in drops))
        digest = hashlib.sha256(answer.body).hexdigest()
        validators = {"etag": answer.validators.etag, "last_modified": answer.validators.last_modified}
        yield Finished({"validators": validators, "sha256": digest}, source_revision=digest)

    def emptiness(self, drops: Counter[str]) -> str:
        """No plugin matches."""
        return f"{self._source.address} names no plugin that is wanted (left out: {counted(drops)}): check `plugins`."

    def _centre(self, body: bytes) -> tuple[dict[str, _Json], dict[str, list[_Json]]]:
        text = body.strip()
        if text.startswith(_PREFIX):
            text = text.removeprefix(_PREFIX).strip().removesuffix(_SUFFIX)
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise ResponseMalformed(f"{self._source.address} is no update centre ({exc}): check the address.") from exc
        plugins = content.get("plugins") if isinstance(content, dict) else None
        if not isinstance(plugins, dict):
            raise ResponseMalformed(f"{self._source.address} is no update centre: it names no plugins.")
        warnings: dict[str, list[_Json]] = {}
        for warning in content.get("warnings") or ():
            if isinstance(warning, Mapping) and warning.get("type") == "plugin":
                warnings.setdefault(str(warning.get("name")), []).append(warning)
        return {str(name): one for name, one in plugins.items() if isinstance(one, Mapping)}, warnings

    def _item(self, name: str, plugin: _Json, warnings: list[_Json], revision: str) -> Item:
        drops: tuple[Drop, ...] = ()
        text, documentation = _facts(name, plugin, warnings), ""
        try:
            documentation = self._documentation(name)
        except Dropped as exc:
            # What the update centre says is worth keeping without it.
            drops = (Drop.of(f"{self._source.name}/{name} (documentation)", exc),)
        if documentation:
            text = f"{text}\n## Documentation\n\n{documentation}\n"
        made = Document(
            source_path=f"{self._source.name}/{name}",
            title=one_line(plugin.get("title")) or name,
            section_path=("Plugins",),
            language=language_of(text),
            kind="reference",
            text=text,
            tags=tuple(sorted(str(label) for label in plugin.get("labels") or ())),
            provenance=Provenance(
                url=f"{self._source.page_address}{quote(name)}/" if self._source.page_address else "",
                retrieved_at=self._workplace.retrieved_at,
                licence=self._source.licence,
                author=_developers(plugin),
                sha256=content_hash([plugin, warnings, documentation]),
                source_revision=str(plugin.get("version") or ""),
            ),
        )
        return Item(name, revision, (made,), drops, code_blocks=len(scan_fences(text)[0]))

    def _documentation(self, name: str) -> str:
        if not self._source.documentation_address:
            return ""
        try:
            body = self._fetcher.get_json(f"{self._source.documentation_address}{quote(name)}")
        except RemoteMissing as exc:
            raise Dropped(DropReason.GONE, exc.detail) from exc
        except RemoteDenied as exc:
            raise Dropped(DropReason.DENIED, exc.detail) from exc
        except RemoteError as exc:
            raise Dropped(DropReason.ENTRY_INVALID, exc.detail) from exc
        wiki = body.get("wiki") if isinstance(body, Mapping) else None
        content = wiki.get("content") if isinstance(wiki, Mapping) else None
        if not isinstance(content, str):
            raise Dropped(DropReason.ENTRY_INVALID, "no documentation in the answer")
        # Headings of the page lie below ours.
        return _lowered(to_markdown(content, str((wiki or {}).get("url") or "")).markdown)


def _facts(name: str, plugin: _Json, warnings: list[_Json]) -> str:
    excerpt = to_markdown(str(plugin.get("excerpt") or "")).markdown
    dependencies = [one for one in plugin.get("dependencies") or () if isinstance(one, Mapping)]
    rows = [
        ("Plugin", f"`{name}`"),
        ("Version", one_line(plugin.get("version"))),
        ("Required Jenkins core", one_line(plugin.get("requiredCore"))),
        ("Labels", ", ".join(str(label) for label in plugin.get("labels") or ())),
        ("Depends on", ", ".join(_dependency(one) for one in dependencies)),
    ]
    parts = [f"# {one_line(plugin.get('title')) or name}", excerpt]
    parts.append("\n".join(f"- {label}: {value}" for label, value in rows if value))
    if warnings:
        parts.append("## Security warnings")
        parts.append("\n".join(_warning(one) for one in warnings))
    return "\n\n".join(part for part in parts if part) + "\n"


def _dependency(one: _Json) -> str:
    optional = " (optional)" if one.get("optional") else ""
    return f"`{one_line(one.get('name'))}` {one_line(one.get('version'))}{optional}".strip()


def _warning(one: _Json) -> str:
    versions = [version for version in one.get("versions") or () if isinstance(version, Mapping)]
    last = ", ".join(one_line(version.get("lastVersion")) for version in versions if version.get("lastVersion"))
    until = f", up to and including version {last}" if last else ""
    return f"- {one_line(one.get('id'))}: {one_line(one.get('message'))}{until} ({one_line(one.get('url'))})"


def _developers(plugin: _Json) -> str:
    people = [one for one in plugin.get("developers") or () if isinstance(one, Mapping)]
    return ", ".join(name for one in people if (name := one_line(one.get("name") or one.get("developerId"))))


def _lowered(markdown: str) -> str:
    lines: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        stripped = line.lstrip(" >")
        if stripped.startswith("```"):
            marks = stripped[: len(stripped) - len(stripped.lstrip("`"))]
            fence = marks if not fence else ("" if stripped.rstrip() == fence else fence)
        lines.append(f"#{line}" if line.startswith("#") and not (fence or line.startswith("######")) else line)
    return "\n".join(lines)
