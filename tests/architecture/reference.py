"""The tables in docs/ that are made from the code: settings and routes.

`python tests/architecture/reference.py` writes them anew; a test fails while they differ.
"""

import importlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic.fields import FieldInfo

from jeeves_shared.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("collector", "curator", "trainer", "gateway")
PROBES = {"/healthz", "/readyz", "/metrics"}
# Defaults that depend on the machine, in words.
DEFAULTS_IN_WORDS = {
    "gateway_threads": "all cores but one",
    "gateway_prompt_threads": "all cores",
    "collector_pandoc_processes": "cores, at most 8",
}


def settings_type(service: str) -> type[ServiceSettings]:
    """The settings class of a service; the common one if it has no fields of its own."""
    try:
        module = importlib.import_module(f"jeeves_{service}.settings")
    except ModuleNotFoundError:
        return ServiceSettings
    own: type[ServiceSettings] = getattr(module, f"{service.capitalize()}Settings")
    return own


def application(service: str, data_dir: Path) -> FastAPI:
    """The service as it runs, on an empty data folder."""
    app: FastAPI = importlib.import_module(f"jeeves_{service}.app").create_app(
        settings_type(service)(data_dir=data_dir)
    )
    return app


def _default(name: str, field: FieldInfo) -> str:
    if name in DEFAULTS_IN_WORDS:
        return DEFAULTS_IN_WORDS[name]
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value is None or value == "" else f"`{value}`"


def _settings_rows(kind: type[ServiceSettings], names: Iterator[str]) -> list[str]:
    prefix = str(kind.model_config["env_prefix"])
    rows = ["| variable | default | what |", "|---|---|---|"]
    for name in names:
        field = kind.model_fields[name]
        what = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{(prefix + name).upper()}` | {_default(name, field)} | {what} |")
    return rows


def settings_tables() -> str:
    """Markdown: the common settings, then those of each service."""
    common = ServiceSettings.model_fields
    blocks = ["## All services", "", *_settings_rows(ServiceSettings, iter(common))]
    for service in SERVICES:
        kind = settings_type(service)
        own = [name for name in kind.model_fields if name not in common]
        if own:
            blocks += ["", f"## {service.capitalize()}", "", *_settings_rows(kind, iter(own))]
    return "\n".join(blocks)


def _operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if path not in PROBES:
                yield path, method.upper(), operation


def route_tables() -> str:
    """Markdown: the routes of each service, from its OpenAPI description."""
    blocks: list[str] = []
    with tempfile.TemporaryDirectory(prefix="jeeves-reference-") as folder:
        for service in SERVICES:
            blocks += ["", f"## {service.capitalize()}", "", "| route | what |", "|---|---|"]
            for path, method, operation in _operations(application(service, Path(folder))):
                blocks.append(f"| `{method} {path}` | {operation.get('summary', '')} |")
    return "\n".join(blocks).strip()


TABLES = {"docs/configuration.md": settings_tables, "docs/api.md": route_tables}
_BLOCK = re.compile(r"(<!-- generated[^>]*-->\n).*?(\n<!-- end of generated -->)", re.DOTALL)


def with_table(text: str, table: str) -> str:
    """The document with its generated block replaced."""
    replaced, number = _BLOCK.subn(lambda match: f"{match[1]}\n{table}\n{match[2]}", text)
    if number != 1:
        raise ValueError(f"{number} generated blocks, one is expected")
    return replaced


if __name__ == "__main__":
    for name, make in TABLES.items():
        path = ROOT / name
        path.write_text(with_table(path.read_text(encoding="utf-8"), make()), encoding="utf-8")
