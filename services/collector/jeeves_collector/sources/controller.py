"""Source `jenkins`: a live controller, read only.

It needs an API token of a user with Overall/Read and Job/Read; with Job/ExtendedRead it reads configurations and
Jenkinsfiles, with Overall/SystemRead the list of plugins. What it may not read is left out with the permission's name.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from jeeves_collector.drops import Dropped
from jeeves_collector.encoding import language_of
from jeeves_collector.markdown import scan_fences
from jeeves_collector.sources.console_log import clean_log
from jeeves_collector.sources.controller_client import ControllerClient
from jeeves_collector.sources.controller_documents import build_text, job_text, objects, overview
from jeeves_collector.sources.protocol import Drop, FetchFigures, Finished, Item, Page, Past, counted
from jeeves_collector.workplace import Workplace
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.documents import Document, DocumentKind, Provenance
from jeeves_shared.contracts.sources import JenkinsSource
from jeeves_shared.errors import SourceUnusable

_FAILED = frozenset({"FAILURE", "UNSTABLE"})
_FOLDERS = ("Folder", "OrganizationFolder", "WorkflowMultiBranchProject")
_LEFT_OUT = "left out"
"""Revision of a build that could not be read: it is tried again."""
_BUILDS_LOOKED_AT_MAX = 50
"""Newest builds of a job whose result is asked for, in search of failed ones."""


class Controller:
    """Reads a controller.

    Args:
        source: of the recipe.
        workplace: of the job.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, source: JenkinsSource, workplace: Workplace) -> None:
        self._source = source
        self._workplace = workplace
        self._address = source.address.rstrip("/")
        self._fetcher = workplace.fetcher(source, obey_robots=False)
        credential = workplace.credentials().of(source.address)
        self._client = ControllerClient(self._address, credential, self._fetcher)

    @property
    def figures(self) -> FetchFigures:
        """What was asked of others so far."""
        return self._fetcher.figures

    def pages(self, past: Past) -> Iterator[Page | Finished]:
        """The controller, then each job with its failed builds; builds that are known are not read again."""
        after = str((past.cursor or {}).get("after", ""))
        with self._fetcher:
            if not after:
                yield Page((self._overview(),), cursor={"after": " "})
            jobs = self._jobs()
            for done, job in enumerate(jobs):
                name = str(job["fullname"])
                if name <= after.strip():
                    # Read before the kill, in this very run.
                    continue
                yield from self._job(name, past, done / len(jobs))
                yield Page(cursor={"after": name})
        yield Finished()

    def emptiness(self, drops: Counter[str]) -> str:
        """Nothing may be read."""
        return (
            f"{self._address} gives nothing that may be read (left out: {counted(drops)}): give a user with "
            "Overall/Read and Job/Read, and its API token in JEEVES_COLLECTOR_CREDENTIALS_FILE."
        )

    def _overview(self) -> Item:
        drops: list[Drop] = []
        try:
            version = self._client.version()
        except Dropped as exc:
            return Item("controller", "", drops=(Drop.of(f"{self._source.name}/controller", exc),))
        plugins = None
        try:
            plugins = self._client.plugins()
        except Dropped as exc:
            drops.append(Drop.of(f"{self._source.name}/controller", exc))
        text = overview(self._address, version, plugins)
        made = self._document(
            "controller", f"Jenkins controller {self._address}", text, kind="reference", path="/", revision=version
        )
        return Item("controller", made.provenance.sha256, (made,), tuple(drops))

    def _jobs(self) -> list[Mapping[str, Any]]:
        try:
            found = self._client.jobs()
        except Dropped as exc:
            raise SourceUnusable(f"{self._address}: {exc}. Give its user Overall/Read and Job/Read.") from exc
        wanted = self._source.folders
        names = tuple(f"{folder.strip('/')}/" for folder in wanted)
        return [job for job in found if not wanted or f"{job['fullname']}/".startswith(names)]

    def _job(self, name: str, past: Past, done: float) -> Iterator[Page]:
        key = f"job/{name}"
        try:
            info = self._client.job(name)
        except Dropped as exc:
            yield Page((Item(key, "", drops=(Drop.of(f"{self._source.name}/{key}", exc),)),))
            return
        if not str(info.get("_class", "")).endswith(_FOLDERS):
            yield Page((self._configuration(name, key, info),), done=done, message=name)
        builds = [one for one in objects(info.get("builds")) if isinstance(one.get("number"), int)]
        kept = 0
        for one in builds[:_BUILDS_LOOKED_AT_MAX]:
            if kept >= self._source.failed_builds_max:
                break
            number = int(one["number"])
            build_key = f"build/{name}/{number}"
            known = past.revision(build_key)
            if known is None or known == _LEFT_OUT:
                item = self._build(name, number, build_key)
                if item is None:
                    continue
                known = item.revision
                yield Page((item,), done=done, message=f"{name} #{number}")
            else:
                yield Page(unchanged=(build_key,))
            kept += known in _FAILED

    def _configuration(self, name: str, key: str, info: Mapping[str, Any]) -> Item:
        drops: list[Drop] = []
        configuration = None
        where = f"{self._source.name}/{key}"
        try:
            configuration = self._client.configuration(name)
            text = job_text(name, info, configuration)
        except Dropped as exc:
            drops.append(Drop.of(where, exc))
            text = job_text(name, info, None)
        made = self._document(key, f"Job {name}", text, kind="reference", path=_path(name), revision="")
        return Item(key, made.provenance.sha256, (made,), tuple(drops), code_blocks=len(scan_fences(text)[0]))

    def _build(self, name: str, number: int, key: str) -> Item | None:
        where = f"{self._source.name}/{key}"
        drops: list[Drop] = []
        try:
            info = self._client.build(name, number)
            if info.get("building"):
                return None
            if str(info.get("result")) not in _FAILED:
                # Remembered, so that its result is asked for only once.
                return Item(key, str(info.get("result")))
            log, left_out = self._client.log(name, number, self._source.log_bytes_max)
        except Dropped as exc:
            return Item(key, _LEFT_OUT, drops=(Drop.of(where, exc),))
        tests = None
        try:
            tests = self._client.failed_tests(name, number)
        except Dropped as exc:
            drops.append(Drop.of(where, exc))
        text = build_text(name, info, tests, clean_log(log), left_out)
        title = f"{name} #{number}: {info.get('result')}"
        stamp = str(info.get("timestamp") or "")
        made = self._document(key, title, text, kind="log", path=f"{_path(name)}{number}/", revision=stamp)
        return Item(key, str(info.get("result")), (made,), tuple(drops), code_blocks=len(scan_fences(text)[0]))

    def _document(self, key: str, title: str, text: str, *, kind: DocumentKind, path: str, revision: str) -> Document:
        return Document(
            source_path=f"{self._source.name}/{key}",
            title=title,
            section_path=tuple(key.split("/")[:-1]),
            language=language_of(text),
            kind=kind,
            text=text,
            provenance=Provenance(
                url=f"{self._address}{path}",
                retrieved_at=self._workplace.retrieved_at,
                licence=self._source.licence,
                author="",
                sha256=content_hash(text),
                source_revision=revision,
            ),
        )


def _path(name: str) -> str:
    return "".join(f"/job/{quote(part, safe='')}" for part in name.split("/")) + "/"
