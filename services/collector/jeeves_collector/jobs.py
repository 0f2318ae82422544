"""A collection, in the job's own process.

Every step can be repeated: sources are read again, converted sections come out of the state, shards and manifest are
written once. So a collection that was killed starts over, skips what is done, and gives the same result.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jeeves_collector.conversion import Conversion
from jeeves_collector.gather import Gathered, Report, gather_pairs, gather_tree
from jeeves_collector.git import fetch, is_git_address
from jeeves_collector.layout import CollectorLayout
from jeeves_collector.settings import CollectorSettings
from jeeves_collector.state import open_state
from jeeves_collector.walk import Tree, walk
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract, canonical_json, content_hash, manifest_id
from jeeves_shared.contracts.documents import Document
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest
from jeeves_shared.contracts.recipes import CollectRecipe, TreeSource
from jeeves_shared.contracts.requests import CollectionRequest
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.settings import load_settings

MANIFEST_KIND = "collection"
SHARD_DOCUMENTS = 256
SHARD_PAIRS = 2048
_READ_SHARE = 0.95
"""Of the progress; the rest is for shards and manifest."""
_NAMES_LOGGED_MAX = 25


def collect(context: JobContext, request: dict[str, Any]) -> CollectionManifest:
    """Job `collections`: read all sources of a recipe.

    Args:
        context: of the job.
        request: a `CollectionRequest`.

    Raises:
        SourceUnusable: a source that cannot be read or has no usable document.
        RecipeError: two sources of one kind and name.
        NotReady: pandoc is missing.
        StorageFull: no space for the shards.
        JobCancelled: on request.
    """
    recipe = CollectionRequest.model_validate(request).recipe
    _refuse_equal_names(recipe)
    gathered, revisions = _gather(context, recipe)
    _log_findings(context, gathered)
    return _store_collection(context, recipe, gathered, revisions)


def _refuse_equal_names(recipe: CollectRecipe) -> None:
    counted = Counter((source.type, source.name) for source in recipe.sources)
    repeated = tuple(f"{kind} {name}" for (kind, name), times in counted.items() if times > 1)
    if repeated:
        raise RecipeError(f"Each source needs a name of its own; given twice: {', '.join(repeated)}.", repeated)


def _gather(context: JobContext, recipe: CollectRecipe) -> tuple[Gathered, list[str]]:
    layout = CollectorLayout.of_work_dir(context.work_dir)
    settings = load_settings(CollectorSettings)
    gathered = Gathered()
    revisions: list[str] = []
    with open_state(layout.memory) as state:
        for number, source in enumerate(recipe.sources):
            report = _reporter(context, gathered, source.name, number, len(recipe.sources))
            report(0, "looking for files")
            if isinstance(source, TreeSource):
                tree, revision = _tree(source, layout.clones, settings.collector_git_timeout_seconds)
                revisions.append(revision)
                conversion = Conversion(
                    state, settings.collector_pandoc_processes, settings.collector_conversion_timeout_seconds
                )
                gather_tree(
                    source, tree, revision, conversion=conversion, state=state, gathered=gathered, report=report
                )
            else:
                gather_pairs(source, gathered, report)
    return gathered, revisions


def _reporter(context: JobContext, gathered: Gathered, name: str, number: int, sources: int) -> Report:
    def report(done: float, item: str) -> None:
        context.report(_READ_SHARE * (number + done) / sources, f"{name}: {item}", **gathered.figures())

    return report


def _tree(source: TreeSource, clones: Path, timeout_seconds: float) -> tuple[Tree, str]:
    if is_git_address(source.location):
        checkout = fetch(source.location, clones, timeout_seconds)
        return walk(checkout.folder, source.include, source.exclude), checkout.revision
    return walk(Path(source.location).expanduser(), source.include, source.exclude), ""


def _log_findings(context: JobContext, gathered: Gathered) -> None:
    for what, names in (
        ("unresolved attributes, left in the text", _counted(gathered.unresolved_attributes)),
        ("unresolved references, left as text", _counted(gathered.unresolved_references)),
        ("includes left out", gathered.refused_includes),
        ("sections that pandoc could not convert, left as AsciiDoc", gathered.unconverted),
    ):
        if names:
            more = f" and {len(names) - _NAMES_LOGGED_MAX} more" if len(names) > _NAMES_LOGGED_MAX else ""
            context.log(f"{what}: {', '.join(names[:_NAMES_LOGGED_MAX])}{more}")


def _counted(names: Counter[str]) -> list[str]:
    return [f"{name} ({number})" for name, number in sorted(names.items())]


def _store_collection(
    context: JobContext, recipe: CollectRecipe, gathered: Gathered, revisions: Sequence[str]
) -> CollectionManifest:
    documents = sorted(gathered.documents, key=lambda document: document.source_path)
    pairs = [gathered.pairs[name] for name in sorted(gathered.pairs)]
    content = _recipe_content(recipe)
    identity = {
        "recipe": content,
        "documents": [_document_identity(document) for document in documents],
        "pairs": [[pair.id, content_hash(pair)] for pair in pairs],
    }
    collection_id = manifest_id(MANIFEST_KIND, identity)
    found = context.store.find_manifest(CollectionManifest, MANIFEST_KIND, collection_id)
    if found is not None:
        context.log(f"nothing has changed since {collection_id}")
        return found
    context.report(_READ_SHARE, "writing shards", **gathered.figures())
    manifest = CollectionManifest(
        id=collection_id,
        source_name="+".join(source.name for source in recipe.sources),
        source_revision="+".join(revision for revision in revisions if revision),
        recipe_sha256=content_hash(content),
        shards=_shards(context.store, documents, SHARD_DOCUMENTS, "documents"),
        pair_shards=_shards(context.store, pairs, SHARD_PAIRS, "pairs"),
        documents=len(documents),
        code_blocks=gathered.code_blocks,
        pairs=len(pairs),
        drops=dict(sorted(gathered.drops.items())),
        created_at=datetime.now(UTC),
    )
    context.store.put_manifest(manifest)
    return manifest


def _recipe_content(recipe: CollectRecipe) -> dict[str, Any]:
    # Where a source lies is no part of what it says: the same files elsewhere are the same collection.
    content = recipe.model_dump(mode="json")
    for source in content["sources"]:
        del source["location"]
    return content


def _document_identity(document: Document) -> list[Any]:
    # The bytes of its file, and what became of them with all includes, by this version of the converter.
    return [
        document.source_path,
        document.provenance.sha256,
        content_hash(document.model_dump(mode="json", exclude={"provenance"})),
        document.provenance.url,
    ]


def _shards(store: ArtifactStore, items: Sequence[Contract], size: int, name: str) -> tuple[ArtifactRef, ...]:
    return tuple(
        store.put_bytes(
            "".join(f"{canonical_json(item)}\n" for item in items[start : start + size]).encode(),
            f"{name}-{start // size:05d}.jsonl",
        )
        for start in range(0, len(items), size)
    )
