"""`jeeves collect`: documents and pairs of a recipe, and `--explain`: what was left out of them and why."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import make_display
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.pipeline import Pipeline
from jeeves_cli.recipes import load_recipe, recipe_for_source, with_absolute_locations
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.collections import CollectionReport
from jeeves_shared.contracts.jobs import Job
from jeeves_shared.contracts.recipes import CollectRecipe

JOBS_DIR = Path("training-jobs")
DEFAULT_COLLECT = JOBS_DIR / "collect" / "starter-pack.yaml"
REFUSALS = JOBS_DIR / "starter-pack" / "refusals.jsonl"
_FINDINGS_SHOWN_MAX = 20

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the manifest to this file.")]
SourceOption = Annotated[str, typer.Option("--source", help="Folder, git address or archive of documents.")]
PairsOption = Annotated[str, typer.Option("--pairs", help="CSV or JSONL of questions and answers about them.")]
LicenceOption = Annotated[str, typer.Option("--licence", help="SPDX identifier of the documents.")]


def collect_recipe_of(recipe: Path, source: str, pairs: str, licence: str) -> CollectRecipe:
    """The recipe that the options of a command mean.

    Args:
        recipe: file; used if no source is given.
        source: folder, git address or archive; empty if not given.
        pairs: file of pairs; empty if not given.
        licence: of the source.

    Raises:
        CommandError: the recipe or the source cannot be used.
    """
    if source:
        return recipe_for_source(source, pairs or None, REFUSALS if REFUSALS.is_file() else None, licence)
    # A recipe's folders are written relative to the folder of the project.
    return with_absolute_locations(load_recipe(CollectRecipe, recipe), Path.cwd())


def give(manifest: Contract, out: Path | None, as_json: bool) -> None:
    """Hand the result of a step over.

    Args:
        manifest: the result.
        out: file to write; None: none.
        as_json: print it.
    """
    text = manifest.model_dump_json(indent=2)
    if out is not None:
        write_atomic(out, text.encode("utf-8"))
    if as_json:
        print(text)


def collect(
    recipe: Annotated[Path, typer.Option("--recipe")] = DEFAULT_COLLECT,
    source: SourceOption = "",
    pairs: PairsOption = "",
    licence: LicenceOption = "NOASSERTION",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what was left out, with samples, and what changed.")
    ] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Collect documents and pairs."""
    manifest = Pipeline(make_display(as_json)).collect(collect_recipe_of(recipe, source, pairs, licence))
    if not explain:
        give(manifest, out, as_json)
        return Exit.OK
    report = _report_of(manifest.id)
    give(manifest, out, as_json=False)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        _show(report, Console())
    return Exit.OK


def _report_of(collection_id: str) -> CollectionReport:
    """The report of the newest job that gave a collection."""
    collector = ServiceClient("collector")
    jobs = [Job.model_validate(item) for item in collector.request("GET", "/v1/collections")]
    gave = [job for job in jobs if job.state == "succeeded" and (job.result or {}).get("id") == collection_id]
    if not gave:
        raise CommandError(f"The collector does not know the job of {collection_id} any more: collect again.")
    newest = max(gave, key=lambda job: job.created_at)
    return collector.get(CollectionReport, f"/v1/collections/{newest.id}/report")


def _show(report: CollectionReport, console: Console) -> None:
    diff = report.diff
    since = f"since {diff.previous_id}" if diff.previous_id else "for the first time"
    console.print(f"{report.collection_id} {since}: {diff.added} added, {diff.changed} changed, {diff.removed} removed")
    for change, names in diff.names.items():
        console.print(f"  {change}: {escape(', '.join(names))}")
    sources = Table("source", "type", "documents", "pairs", "read", "unchanged", "requests", "waited", box=None)
    for one in report.sources:
        counts = (one.documents, one.pairs, one.fetched_items, one.unchanged_items, one.requests)
        sources.add_row(one.name, one.type, *map(str, counts), f"{one.waited_seconds:.0f} s")
    console.print(sources)
    for drop in report.drops:
        console.print(f"left out, {drop.reason}: {drop.count}")
        for sample in drop.samples:
            console.print(f"  {escape(sample)}", soft_wrap=True)
    for kind, found in report.findings.items():
        console.print(f"{kind}: {sum(found.values())}")
        shown = list(found.items())[:_FINDINGS_SHOWN_MAX]
        for name, count in shown:
            console.print(f"  {escape(name)} ({count})", soft_wrap=True)
        if len(found) > len(shown):
            console.print(f"  and {len(found) - len(shown)} more: --json shows all")
