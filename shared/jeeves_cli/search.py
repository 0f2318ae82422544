"""`jeeves search`: what the index finds for a question, with the figures that say why.

It reads the index file itself, so it needs no service: the newest index in the data folder's store is the one that a
running gateway was given last, and it is there when `make run ONCE=1` has ended too.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from jeeves_cli.ask import read_batch
from jeeves_cli.endpoints import data_dir
from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import IndexManifest
from jeeves_shared.errors import JeevesError
from jeeves_shared.settings import ServiceSettings, load_settings

if TYPE_CHECKING:
    from jeeves_shared.search import Hit, SearchIndex

TOP_DEFAULT = 5
TOP_MAX = 100
_SNIPPET_CHARACTERS = 160


def search(
    question: Annotated[str, typer.Argument(help="What you want to find.")] = "",
    batch: Annotated[
        Path | None, typer.Option(help='JSON Lines with "id" and "question"; one line of hits for each, in order.')
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=TOP_MAX, help="Hits of a question.")] = TOP_DEFAULT,
    per_page: Annotated[
        int, typer.Option(min=0, help="Sections of one document at most; 0 for as many as there are.")
    ] = 1,
    index: Annotated[str, typer.Option(help="Id of an index; the newest one by default.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the hits as JSON, nothing else.")] = False,
) -> int:
    """Search the newest index, with scores and why; no service needs to run."""
    if bool(question.strip()) == bool(batch):
        raise CommandError("Give either a question or --batch FILE.jsonl.", Exit.USAGE)
    questions = read_batch(batch) if batch is not None else [("", question)]
    try:
        manifest, opened = open_index(index)
        if batch is not None:
            for question_id, text in questions:
                row = {"id": question_id, "question": text, "hits": _rows(opened.search(text, top, per_page))}
                print(json.dumps(row, ensure_ascii=False), flush=True)
            return Exit.OK
        hits = opened.search(question, top, per_page)
    except JeevesError as exc:
        raise CommandError(exc.detail) from exc
    if as_json:
        found = {"question": question, "index_id": manifest.id, "hits": _rows(hits)}
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _show(Console(), manifest, hits)
    return Exit.OK


def open_index(index_id: str) -> "tuple[IndexManifest, SearchIndex]":
    """Open an index of this installation's store.

    Args:
        index_id: of an index; empty for the newest whose file is there.

    Raises:
        CommandError: there is none, or this installation lacks what reading it needs.
        JeevesError: its file is damaged, or of another version.
    """
    try:
        from jeeves_shared.search import SearchIndex  # noqa: PLC0415  (numpy: only this command needs it)
    except ImportError as exc:
        raise CommandError(f"{exc.name} is missing: install `jeeves-shared[cli,search]`.") from exc
    settings = load_settings(ServiceSettings, data_dir=data_dir(), host="127.0.0.1")
    store = ArtifactStore(settings.store())
    if index_id:
        manifest = store.get_manifest(IndexManifest, "index", index_id)
    else:
        stored = [each for each in store.list_manifests(IndexManifest, "index") if store.holds_all(each)]
        if not stored:
            raise CommandError(
                f"There is no index in {settings.store()}: build one (`make run`, `jeeves index`), "
                "or name another folder in JEEVES_DATA_DIR."
            )
        manifest = max(stored, key=lambda each: (each.created_at, each.id))
    return manifest, SearchIndex.open(store.path(manifest.artifact))


def _rows(hits: "list[Hit]") -> list[dict[str, Any]]:
    return [
        {
            "rank": hit.rank,
            "score": round(hit.score, 6),
            "source_path": hit.passage.source_path,
            "url": hit.passage.url,
            "title": hit.passage.title,
            "section": hit.passage.section,
            "text": hit.passage.text,
            "why": {name: round(value, 4) for name, value in _why(hit).items()},
        }
        for hit in hits
    ]


def _why(hit: "Hit") -> dict[str, float]:
    """The figures behind a score; `jeeves_shared.search.reader` says what each is good at."""
    return {
        "similarity": hit.similarity,
        "sentence": hit.sentence,
        "lexical": hit.lexical,
        "page": hit.page,
        "coverage": hit.coverage,
        "heading": hit.heading,
        "prior": hit.prior,
    }


def _show(console: Console, manifest: IndexManifest, hits: "list[Hit]") -> None:
    if not hits:
        console.print("Nothing found.")
        return
    for hit in hits:
        passage = hit.passage
        figures = "  ".join(f"{name} {value:.2f}" for name, value in _why(hit).items())
        snippet = " ".join(passage.text.split())[:_SNIPPET_CHARACTERS]
        console.print(f"[bold]{hit.rank}. {escape(passage.title)} › {escape(passage.section)}[/bold]  {hit.score:.2f}")
        console.print(f"   {escape(passage.url or passage.source_path)}", soft_wrap=True)
        console.print(f"   [dim]{figures}[/dim]", soft_wrap=True)
        console.print(f"   {escape(snippet)}")
    console.print(f"{manifest.id}: {manifest.sections} sections of {manifest.documents} documents")
