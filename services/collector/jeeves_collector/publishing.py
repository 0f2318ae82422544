"""The ledger's rows to a collection: identity, shards, manifest, and the difference to the last time.

Nothing here holds more than one shard in memory, whatever the size of the collection.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal

from jeeves_collector.drops import DropReason
from jeeves_collector.ledger import Ledger, Row
from jeeves_collector.sources.protocol import Drop
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import canonical_json, content_hash
from jeeves_shared.contracts.collections import CollectionDiff, CollectionReport, DropSamples, SourceFigures
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest
from jeeves_shared.contracts.recipes import CollectRecipe

MANIFEST_KIND = "collection"
SHARD_DOCUMENTS = 256
SHARD_PAIRS = 2048
SAMPLES_MAX = 10
"""Names of each kind in a report; the counts are of all."""
Change = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Collected:
    """All sources of a recipe, read.

    Attributes:
        recipe: as requested.
        sources: keys in the ledger, in the order of the recipe.
        figures: of each source.
    """

    recipe: CollectRecipe
    sources: tuple[str, ...]
    figures: tuple[SourceFigures, ...]


def recipe_content(recipe: CollectRecipe) -> dict[str, Any]:
    """What of a recipe counts: where a source lies is no part of what it says, nor is the speed of reading it."""
    content = recipe.model_dump(mode="json")
    for source in content["sources"]:
        for name in ("location", "requests_per_second", "requests_per_day", "allow_private", "relist_days"):
            source.pop(name, None)
    return content


def publish(ledger: Ledger, store: ArtifactStore, collected: Collected) -> tuple[CollectionManifest, CollectionReport]:
    """Write the collection, or find that it is there.

    Args:
        ledger: holds the sources.
        store: of artifacts.
        collected: from the sources.

    Raises:
        StorageFull: no space for the shards.
    """
    content = recipe_content(collected.recipe)
    collection_id = _collection_id(ledger, collected.sources, content)
    drops = _drops(ledger, collected.sources)
    manifest = store.find_manifest(CollectionManifest, MANIFEST_KIND, collection_id)
    if manifest is None:
        counts = {kind: sum(1 for _ in _unique(ledger, collected.sources, kind)) for kind in ("document", "pair")}
        manifest = CollectionManifest(
            id=collection_id,
            source_name="+".join(source.name for source in collected.recipe.sources),
            source_revision="+".join(filter(None, map(ledger.source_revision, collected.sources))),
            recipe_sha256=content_hash(content),
            shards=_shards(
                store, _unique(ledger, collected.sources, "document", bodies=True), SHARD_DOCUMENTS, "documents"
            ),
            pair_shards=_shards(store, _unique(ledger, collected.sources, "pair", bodies=True), SHARD_PAIRS, "pairs"),
            documents=counts["document"],
            code_blocks=sum(map(ledger.code_blocks, collected.sources)),
            pairs=counts["pair"],
            drops=dict(sorted(Counter(drop.reason for drop in drops).items())),
            created_at=datetime.now(UTC),
        )
        store.put_manifest(manifest)
    recipe_key = content_hash(collected.recipe)
    report = CollectionReport(
        collection_id=collection_id,
        diff=_diff(ledger, recipe_key, collected.sources),
        sources=collected.figures,
        drops=_samples(drops),
        findings=_findings(ledger, collected.sources),
    )
    ledger.publish(recipe_key, collection_id, _hashes(ledger, collected.sources))
    return manifest, report


def _unique(ledger: Ledger, sources: Sequence[str], kind: str, *, bodies: bool = False) -> Iterator[Row]:
    last = None
    for row in ledger.rows(sources, kind, bodies=bodies):
        if row.path != last:
            yield row
        last = row.path


def _collection_id(ledger: Ledger, sources: Sequence[str], recipe: dict[str, Any]) -> str:
    # The hash of canonical JSON, as `manifest_id` makes it, without the whole text in memory.
    digest = hashlib.sha256(b'{"documents":[')
    for name, kind in (("", "document"), ('],"pairs":[', "pair")):
        digest.update(name.encode())
        for number, row in enumerate(_unique(ledger, sources, kind)):
            digest.update(f"{',' if number else ''}{row.identity}".encode())
    digest.update(f'],"recipe":{canonical_json(recipe)}}}'.encode())
    return f"{MANIFEST_KIND}-{digest.hexdigest()[:16]}"


def _drops(ledger: Ledger, sources: Sequence[str]) -> list[Drop]:
    drops = [drop for source in sources for drop in ledger.notes(source).drops]
    last = None
    for row in ledger.rows(sources, "pair", bodies=False):
        if row.path == last:
            drops.append(Drop(row.path, DropReason.PAIR_DUPLICATE_ID.value, "another pair has this id"))
        last = row.path
    return drops


def _shards(store: ArtifactStore, rows: Iterator[Row], size: int, name: str) -> tuple[ArtifactRef, ...]:
    refs: list[ArtifactRef] = []
    while lines := [f"{row.body}\n" for row in islice(rows, size)]:
        refs.append(store.put_bytes("".join(lines).encode(), f"{name}-{len(refs):05d}.jsonl"))
    return tuple(refs)


def _hashes(ledger: Ledger, sources: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    # A list for each kind: the ledger is written to while this is read.
    for kind in ("document", "pair"):
        rows = [(row.path, row.identity) for row in _unique(ledger, sources, kind)]
        for path, identity in rows:
            yield kind, path, hashlib.sha256(identity.encode()).hexdigest()


def _diff(ledger: Ledger, recipe: str, sources: Sequence[str]) -> CollectionDiff:
    changes: dict[Change, list[str]] = {"added": [], "changed": [], "removed": []}
    for kind in ("document", "pair"):
        before = ledger.published(recipe, kind)
        for row in _unique(ledger, sources, kind):
            known = before.pop(row.path, None)
            if known is None:
                changes["added"].append(row.path)
            elif known != hashlib.sha256(row.identity.encode()).hexdigest():
                changes["changed"].append(row.path)
        changes["removed"].extend(before)
    return CollectionDiff(
        previous_id=ledger.published_id(recipe),
        added=len(changes["added"]),
        changed=len(changes["changed"]),
        removed=len(changes["removed"]),
        names={change: tuple(sorted(names)[:SAMPLES_MAX]) for change, names in changes.items() if names},
    )


def _samples(drops: Sequence[Drop]) -> tuple[DropSamples, ...]:
    by_reason: dict[str, list[Drop]] = {}
    for drop in drops:
        by_reason.setdefault(drop.reason, []).append(drop)
    return tuple(
        DropSamples(
            reason=reason,
            count=len(found),
            samples=tuple(f"{drop.item}: {drop.detail or reason}" for drop in found[:SAMPLES_MAX]),
        )
        for reason, found in sorted(by_reason.items())
    )


def _findings(ledger: Ledger, sources: Sequence[str]) -> dict[str, dict[str, int]]:
    merged: dict[str, Counter[str]] = {}
    for source in sources:
        for kind, names in ledger.notes(source).findings.items():
            merged.setdefault(kind, Counter()).update(names)
    return {kind: dict(sorted(names.items())) for kind, names in sorted(merged.items())}
