"""The job `indexes`: a collection becomes a search index."""

from datetime import UTC, datetime
from typing import Any

from jeeves_curator.documents.curation import curate_documents, curation_id, read_curated
from jeeves_curator.sections import SECTIONS_VERSION, split_document
from jeeves_curator.sentence_model import NAME, model_folder, sentence_model
from jeeves_shared.contracts.base import manifest_id
from jeeves_shared.contracts.manifests import CollectionManifest, IndexManifest
from jeeves_shared.contracts.recipes import CurateRecipe
from jeeves_shared.contracts.requests import IndexRequest
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.search import build_index
from jeeves_shared.search.embedding import EMBEDDER
from jeeves_shared.search.schema import SCHEMA_VERSION

_CURATE_SHARE = 0.3
_SPLIT_SHARE = 0.4


def index_id(recipe: CurateRecipe, collection: CollectionManifest) -> str:
    """Identity of the index: the collection, what of the recipe matters here, the rules and models of this version."""
    return manifest_id(
        "index",
        {
            "collection": collection.id,
            "curation": curation_id(recipe.documents, collection),
            "section_characters": [recipe.section_characters_min, recipe.section_characters_max],
            "rules": [SECTIONS_VERSION, SCHEMA_VERSION, EMBEDDER, NAME if model_folder() else ""],
        },
    )


def run(context: JobContext, request: dict[str, Any]) -> IndexManifest:
    """Build the index of a collection, or find it.

    Raises:
        SourceUnusable: the collection holds no text.
        RedactionIncomplete: something to hide is left in a document.
        NotFound, ArtifactCorrupt: a shard is missing or damaged.
        EmbedderMissing: the embedding model cannot be loaded.
        StorageFull: no space left.
        JobCancelled: the job was asked to stop.
    """
    asked = IndexRequest.model_validate(request)
    identity = index_id(asked.recipe, asked.collection)
    stored = context.store.find_manifest(IndexManifest, "index", identity)
    if stored is not None:
        context.log(f"{identity} is there already")
        return stored
    curation = curate_documents(context, asked.recipe.documents, asked.collection, _CURATE_SHARE)
    sections = []
    documents = 0
    for documents, curated in enumerate(read_curated(context, curation), start=1):
        sections += split_document(
            curated.document, asked.recipe.section_characters_max, asked.recipe.section_characters_min
        )
        share = documents / max(curation.documents_kept, documents)
        context.report(
            _CURATE_SHARE + (_SPLIT_SHARE - _CURATE_SHARE) * share, f"{documents} documents, {len(sections)} sections"
        )
    path = context.work_dir / f"{identity}.sqlite"
    if not path.is_file():  # It is written whole or not at all: if it is there, an earlier attempt finished it.
        build_index(
            sections,
            path,
            lambda share: context.report(
                _SPLIT_SHARE + (0.98 - _SPLIT_SHARE) * share,
                f"indexing {len(sections)} sections",
                sections=len(sections),
            ),
            sentence_model(),
        )
    manifest = IndexManifest(
        id=identity,
        collections=(asked.collection.id,),
        artifact=context.store.put_file(path, "index.sqlite"),
        documents=documents,
        sections=len(sections),
        embedder=EMBEDDER,
        created_at=datetime.now(UTC),
    )
    context.store.put_manifest(manifest)
    path.unlink()
    context.log(f"{identity}: {documents} documents, {len(sections)} sections, {manifest.artifact.size_bytes} bytes")
    return manifest
