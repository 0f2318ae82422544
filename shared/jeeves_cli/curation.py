"""`jeeves review` and `jeeves label`: what people decide about documents and paragraphs."""

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import make_display
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.pipeline import Pipeline
from jeeves_cli.recipes import load_recipe
from jeeves_shared.contracts.curation import ParagraphToLabel, QuarantinedDocument
from jeeves_shared.contracts.manifests import CollectionManifest, CurationManifest
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.contracts.requests import CurationRequest

DEFAULT_CURATE = Path("training-jobs") / "curate" / "default.yaml"
CollectionOption = Annotated[Path, typer.Option(help="Manifest of the collection.")]
RecipeOption = Annotated[Path, typer.Option("--recipe")]

_QUARANTINED = TypeAdapter(list[QuarantinedDocument])
_PARAGRAPHS = TypeAdapter(list[ParagraphToLabel])


def curated(collection: CollectionManifest, recipe: Path, as_json: bool) -> CurationManifest:
    """The curation of a collection, made if it is not there.

    Args:
        collection: whose documents.
        recipe: file.
        as_json: no progress on standard output.

    Raises:
        CommandError: the curator is away or the job failed.
    """
    display = make_display(as_json)
    request = CurationRequest(recipe=load_recipe(CurateRecipe, recipe), collection=collection)
    with display.stage("documents") as stage:
        manifest = Pipeline(display).curator.run_job("curations", request, CurationManifest, stage.progress)
        stage.done(f"{manifest.documents_kept} documents kept, {manifest.quarantined} for review")
    return manifest


def review(
    collection: CollectionOption,
    recipe: RecipeOption = DEFAULT_CURATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output, nothing else.")] = False,
) -> int:
    """Show the documents that were set aside, with the reason."""
    manifest = curated(_collection(collection), recipe, as_json)
    listed = ServiceClient("curator").request("GET", f"/v1/reviews?curation={manifest.id}")
    documents = _QUARANTINED.validate_python(listed)
    if as_json:
        print(_QUARANTINED.dump_json(documents, indent=2).decode())
        return Exit.OK
    table = Table("document", "reason", "what", "sha256 (for `documents.released`)")
    for document in documents:
        table.add_row(document.source_path, document.reason, document.detail, document.sha256)
    console = Console()
    console.print(table if documents else "nothing in quarantine")
    return Exit.OK


def label(
    collection: CollectionOption,
    recipe: RecipeOption = DEFAULT_CURATE,
    out: Annotated[Path, typer.Option("--out", help="JSON Lines that labels are appended to.")] = Path("labels.jsonl"),
    count: Annotated[int, typer.Option(min=1, max=200, help="Paragraphs to show.")] = 20,
) -> int:
    """Judge paragraphs for the quality score: useful, not, skip, quit."""
    manifest = curated(_collection(collection), recipe, as_json=False)
    client = ServiceClient("curator")
    listed = client.request("GET", f"/v1/paragraphs?curation={manifest.id}&count={count}", timeout_seconds=120.0)
    done = _labelled(out)
    console = Console()
    for paragraph in _PARAGRAPHS.validate_python(listed):
        if paragraph.sha256 in done:
            continue
        console.rule(f"{paragraph.source_path}  score {paragraph.score:.2f}")
        console.print(paragraph.text, markup=False)
        answer = typer.prompt("useful (u), not (n), skip (s), quit (q)", default="s").strip().lower()[:1]
        if answer == "q":
            break
        if answer in ("u", "n"):
            value = int(answer == "u")
            row = {"sha256": paragraph.sha256, "source_path": paragraph.source_path, "url": paragraph.url}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "label": value, "second": value}) + "\n")
    return Exit.OK


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("review")(review)
    app.command("label")(label)


def _collection(path: Path) -> CollectionManifest:
    try:
        return CollectionManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as exc:
        raise CommandError(
            f"{path} is not a manifest of a collection: run `jeeves collect --out`.", Exit.USAGE
        ) from exc


def _labelled(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {json.loads(line)["sha256"] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
