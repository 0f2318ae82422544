"""The part of a curation that looks at one document at a time: a shard of a collection through the steps.

What comes out is an artifact with an identity of its own, by the shard's bytes and the rules. So a job that was killed
goes on after its last shard, a collection in which one document changed is reviewed in one shard only, and a cluster
can review shards before a job asks for them (`jeeves_curator.cluster`).
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel

from jeeves_curator.documents.normalize import NormalizeDocument, Substance
from jeeves_curator.documents.poison import Quarantine
from jeeves_curator.documents.rules import Heuristics
from jeeves_curator.documents.steps import DocumentStep, Redact, Unit, review_documents
from jeeves_curator.redaction import REDACTION_VERSION
from jeeves_curator.shards import read_lines
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import canonical_json, content_hash, manifest_id
from jeeves_shared.contracts.curation import DocumentDrop, DocumentRules, StepCount
from jeeves_shared.contracts.documents import Document
from jeeves_shared.contracts.manifests import ArtifactRef, ReviewedShardManifest

CURATION_VERSION = 3
"""Bump with any change to what becomes of the same documents."""

_NEEDS_ALL_DOCUMENTS = {"standings", "near_duplicate_similarity", "flood_documents_min", "supersede"}


class ReviewedShard(BaseModel):
    """What the steps made of one shard.

    Attributes:
        kept: by path.
        drops: of whole documents.
        hashes: of the texts as they came, by path.
        counts: by step, in order.
        sources: documents that came in, by source.
        characters: that came in.
        urls: author and address, by path.
    """

    kept: list[Unit]
    drops: list[DocumentDrop]
    hashes: dict[str, str]
    counts: list[StepCount]
    sources: dict[str, int]
    characters: int
    urls: dict[str, tuple[str, str]]


def document_steps(rules: DocumentRules) -> tuple[DocumentStep, ...]:
    """The steps that look at one document, in order.

    Hidden characters are looked for before they are taken out, and secrets are replaced before anything is shown.
    """
    return (
        Quarantine(rules.released),
        NormalizeDocument(),
        Redact(),
        Substance(rules.stub_characters_min, rules.text_characters_max),
        Heuristics(),
    )


def reviewed_shard(
    store: ArtifactStore, rules: DocumentRules, shard: ArtifactRef, watch: Callable[[float], None] = lambda _: None
) -> ReviewedShard:
    """Take the documents of a shard through the steps, or find that it was done.

    Args:
        store: holds the shard, and gets the result.
        rules: of the recipe.
        shard: JSON Lines of `Document`.
        watch: told the share of the documents that were looked at, in [0, 1].

    Raises:
        NotFound, ArtifactCorrupt: the shard, or what was made of it, is missing or damaged.
        StorageFull: no space left.
    """
    identity = _identity(rules, shard)
    stored = store.find_manifest(ReviewedShardManifest, "reviewed-shard", identity)
    if stored is not None:
        return ReviewedShard.model_validate_json(store.read_bytes(stored.result))
    result = _review(list(read_lines(store.path(shard), Document, shard.name)), rules, watch)
    ref = store.put_bytes(canonical_json(result).encode("utf-8"), f"reviewed-{shard.name}")
    store.put_manifest(ReviewedShardManifest(id=identity, shard=shard.sha256, result=ref, created_at=datetime.now(UTC)))
    return result


def _identity(rules: DocumentRules, shard: ArtifactRef) -> str:
    return manifest_id(
        "reviewed-shard",
        {
            "form": content_hash(ReviewedShard.model_json_schema()),
            "rules": rules.model_dump(mode="json", exclude=_NEEDS_ALL_DOCUMENTS),
            "shard": shard.sha256,
            "version": [CURATION_VERSION, REDACTION_VERSION],
        },
    )


def _review(documents: list[Document], rules: DocumentRules, watch: Callable[[float], None]) -> ReviewedShard:
    reviewed = review_documents(documents, document_steps(rules), lambda done: watch(done / len(documents)))
    return ReviewedShard(
        kept=reviewed.kept,
        drops=reviewed.drops,
        hashes={document.source_path: content_hash(document.text) for document in documents},
        counts=list(reviewed.counts.values()),
        sources=dict(Counter(document.source_path.partition("/")[0] for document in documents)),
        characters=sum(len(document.text) for document in documents),
        urls={document.source_path: (document.provenance.author, document.provenance.url) for document in documents},
    )
