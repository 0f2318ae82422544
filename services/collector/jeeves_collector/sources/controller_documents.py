"""What a controller says, as documents. Secrets in configurations never get in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.parsers import expat

from jeeves_collector.asciidoc.code_blocks import CodeBlock, fence
from jeeves_collector.drops import Dropped, DropReason
from jeeves_collector.sources.threads import one_line

_SECRET_NAMES = re.compile(r"(?i)password|passphrase|secret|token|privatekey|apikey|credential(?!s?id)s?$")
_ENCRYPTED = re.compile(r"\{AQAAA[A-Za-z0-9+/=]+\}")
REDACTED = "REDACTED"
_TESTS_MAX = 20
_STACK_CHARACTERS_MAX = 2000
_DEPTH_MAX = 100


def overview(address: str, version: str, plugins: Sequence[tuple[str, str, str, bool]] | None) -> str:
    """Version and plugins."""
    parts = [f"# Jenkins controller {address}", f"Jenkins version: {version}"]
    if plugins is not None:
        rows = [
            f"- `{name}` {version}: {one_line(title)}{'' if active else ' (not active)'}"
            for name, title, version, active in plugins
        ]
        parts.extend((f"## Installed plugins ({len(rows)})", "\n".join(rows)))
    return "\n\n".join(part for part in parts if part) + "\n"


def job_text(name: str, info: Mapping[str, Any], configuration: str | None) -> str:
    """A job: what it is, its Jenkinsfile, its configuration.

    Args:
        name: full name.
        info: of Jenkins' API.
        configuration: `config.xml`; None where it may not be read.

    Raises:
        Dropped: the configuration is not XML that is safe to read.
    """
    kind = str(info.get("_class") or "job").rpartition(".")[2]
    parts = [f"# Job {name}", f"- Kind: {kind}\n- Buildable: {'yes' if info.get('buildable') else 'no'}"]
    if description := str(info.get("description") or "").strip():
        parts.append(description)
    if configuration is not None:
        read = _Configuration.read(configuration)
        if read.script:
            parts.extend(("## Jenkinsfile", fence(CodeBlock("groovy", read.script.strip("\n")))))
        elif read.script_path:
            repository = f" of {read.repository}" if read.repository else ""
            parts.extend(("## Jenkinsfile", f"In the file `{read.script_path}`{repository}."))
        parts.extend(("## Configuration", fence(CodeBlock("xml", read.text.strip("\n")))))
    return "\n\n".join(parts) + "\n"


def build_text(name: str, info: Mapping[str, Any], tests: Mapping[str, Any] | None, log: str, left_out: int) -> str:
    """A failed build: result, causes, failed tests, log.

    Args:
        name: full name of the job.
        info: of Jenkins' API.
        tests: its test report, if it has one.
        log: clean text.
        left_out: bytes between beginning and end that were not read.
    """
    causes = [
        one_line(cause.get("shortDescription"))
        for action in objects(info.get("actions"))
        for cause in objects(action.get("causes"))
    ]
    facts = [f"- Result: {info.get('result')}"]
    if isinstance(duration := info.get("duration"), int):
        facts.append(f"- Duration: {duration // 1000} s")
    facts += [f"- {cause}" for cause in causes if cause]
    if built_on := one_line(info.get("builtOn")):
        facts.append(f"- Agent: {built_on}")
    parts = [f"# {name} #{info.get('number')}: {info.get('result')}", "\n".join(facts)]
    failed = _failed_cases(tests)
    if failed:
        parts.extend((f"## Failed tests ({len(failed)})", "\n\n".join(failed[:_TESTS_MAX])))
    note = f"{left_out} bytes between beginning and end were left out.\n\n" if left_out else ""
    parts.extend(("## Console log", note + fence(CodeBlock("", log))))
    return "\n\n".join(parts) + "\n"


def objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a JSON array; none if it is something else."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _failed_cases(tests: Mapping[str, Any] | None) -> list[str]:
    cases: list[str] = []
    children = [child.get("result") for child in objects((tests or {}).get("childReports"))]
    for report in objects([tests, *children]):
        for suite in objects(report.get("suites")):
            for case in objects(suite.get("cases")):
                if case.get("status") in ("FAILED", "REGRESSION"):
                    trace = str(case.get("errorStackTrace") or case.get("errorDetails") or "")
                    title = f"- `{one_line(case.get('className'))}.{one_line(case.get('name'))}`"
                    shown = fence(CodeBlock("", trace[:_STACK_CHARACTERS_MAX].strip("\n")), "  ") if trace else ""
                    cases.append(f"{title}\n\n{shown}" if shown else title)
    return cases


class _Configuration:
    """Reads `config.xml`: no entities, no document type, secrets replaced while it is written anew."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._path: list[str] = []
        self._texts: list[str] = []
        self.text = ""
        self.script = ""
        self.script_path = ""
        self.repository = ""

    @classmethod
    def read(cls, xml: str) -> "_Configuration":
        """Read a configuration.

        Raises:
            Dropped: not well-formed, or with a document type.
        """
        made = cls()
        # Jenkins says `version='1.1'`, which expat does not read; the text is the same.
        body = re.sub(r"^\s*<\?xml[^>]*\?>", "", xml)
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = made._start
        parser.EndElementHandler = made._end
        parser.CharacterDataHandler = made._data
        parser.StartDoctypeDeclHandler = made._refuse
        try:
            parser.Parse(body.encode("utf-8", errors="replace"), True)
        except expat.ExpatError as exc:
            raise Dropped(DropReason.ENTRY_INVALID, f"config.xml is not well-formed: {exc}") from exc
        made.text = "".join(made._out)
        return made

    def _refuse(self, *_: Any) -> None:
        raise Dropped(DropReason.ENTRY_INVALID, "config.xml has a document type, which Jenkins never writes")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) > _DEPTH_MAX:
            raise Dropped(DropReason.ENTRY_INVALID, "config.xml is nested too deeply")
        self._flush()
        self._path.append(name)
        shown = [f' {key}="{_escaped(value)}"' for key, value in attributes.items() if key != "plugin"]
        self._out.append(f"<{name}{''.join(shown)}>")

    def _end(self, name: str) -> None:
        text = "".join(self._texts)
        leaf = name.rpartition(".")[2]
        if text.strip():
            if leaf == "script":
                self.script = self.script or text
            elif leaf == "scriptPath":
                self.script_path = text.strip()
            elif leaf in ("url", "remote") and not self.repository:
                self.repository = re.sub(r"^(\w+://)[^/@]*@", r"\1", text.strip())
        # The script stands by itself already.
        if leaf == "script" and self.script:
            self._texts = ["(the Jenkinsfile above)"]
        self._flush()
        self._path.pop()
        self._out.append(f"</{name}>")

    def _data(self, text: str) -> None:
        self._texts.append(text)

    def _flush(self) -> None:
        text = "".join(self._texts)
        self._texts = []
        secret = bool(self._path) and bool(_SECRET_NAMES.search(self._path[-1])) and bool(text.strip())
        text = REDACTED if secret else _ENCRYPTED.sub(REDACTED, text)
        self._out.append(_escaped(re.sub(r"(\w+://)[^/@\s]*@", r"\1", text)))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
