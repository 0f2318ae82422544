"""`jeeves models`: the versions of the registry, with what they were made of and which builds promoted them."""

import json
from collections import defaultdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from jeeves_cli.client import ServiceClient
from jeeves_cli.collect import AsJson
from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.requests import RegisteredModel

_HISTORY_MAX = 10_000


def models(
    only: Annotated[
        str, typer.Argument(help="A version (v3), an id, an alias, or what promoted it (jenkins-jeeves-7).")
    ] = "",
    as_json: AsJson = False,
) -> int:
    """Show model versions, newest first, with aliases, data set and the builds that promoted them; exit 1 for none."""
    trainer = ServiceClient("trainer")
    registered = [RegisteredModel.model_validate(item) for item in trainer.request("GET", "/v1/models")]
    history: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in trainer.request("GET", f"/v1/models/audit?limit={_HISTORY_MAX}"):
        history[entry["model_id"]].append({key: entry[key] for key in ("at", "who", "action", "reason")})
    rows = [_row(model, history[model.manifest.id]) for model in registered]
    rows = [row for row in rows if not only or only in _names(row)]
    if only and not rows:
        raise CommandError(f"No model version is {only!r} or was promoted by it. `jeeves models` shows all.")
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        Console().print(_table(rows))
    return Exit.OK


def _row(model: RegisteredModel, history: list[dict[str, Any]]) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "id": manifest.id,
        "name": manifest.name,
        "version": manifest.version,
        "aliases": list(model.aliases),
        "files": [file.quantization for file in manifest.files],
        "base_model": manifest.base_model,
        "dataset_id": manifest.dataset_id,
        "training_id": manifest.training_id,
        "created_at": manifest.created_at.isoformat(),
        "history": history,
    }


def _names(row: dict[str, Any]) -> set[str]:
    """All that a version can be asked for by; a build's reason is `BUILD_TAG BUILD_URL`."""
    words = (word for entry in row["history"] if entry["action"] == "promote" for word in entry["reason"].split())
    return {row["id"], row["dataset_id"], row["training_id"], f"v{row['version']}", *row["aliases"], *words}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("version", "aliases", "files", "data set", "promoted by")
    for row in rows:
        promoted = [
            f"{entry['at'][:16].replace('T', ' ')} {entry['reason'] or entry['who']}"
            for entry in row["history"]
            if entry["action"] == "promote"
        ]
        table.add_row(
            f"{row['name']} v{row['version']}",
            ", ".join(row["aliases"]),
            ", ".join(row["files"]),
            row["dataset_id"],
            "\n".join(promoted),
        )
    return table
