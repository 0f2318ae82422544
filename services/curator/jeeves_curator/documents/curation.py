"""The stage before all others: the documents of a collection become curated documents.

Shard by shard (`reviewed`), each result stored whole or not at all, then what needs all documents. A restarted job goes
on after its last finished shard, whoever finished it; the same collection and rules give the same bytes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jeeves_curator.documents.copies import Copies
from jeeves_curator.documents.poison import Floods
from jeeves_curator.documents.reviewed import CURATION_VERSION, ReviewedShard, reviewed_shard
from jeeves_curator.documents.staleness import Dated, Dates, Supersede, outdated_terms
from jeeves_curator.errors import RedactionIncomplete
from jeeves_curator.redaction import REDACTION_VERSION, scan
from jeeves_curator.shards import read_lines, write_lines
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.base import content_hash, manifest_id
from jeeves_shared.contracts.curation import (
    Contradiction,
    CuratedDocument,
    CurationReport,
    DocumentDrop,
    DocumentRules,
    MergedCopy,
    QuarantinedDocument,
    StepCount,
)
from jeeves_shared.contracts.manifests import ArtifactRef, CollectionManifest, CurationManifest
from jeeves_shared.contracts.requests import CurationRequest
from jeeves_shared.jobs.worker import JobContext

QUARANTINE_REASONS = ("injection", "control-token", "invisible-characters", "flood")


def curation_id(rules: DocumentRules, collection: CollectionManifest) -> str:
    """Identity of a curation: the collection, the rules of the recipe, and those of this version."""
    return manifest_id(
        "curation",
        {
            "collection": collection.id,
            "rules": rules.model_dump(mode="json"),
            "version": [CURATION_VERSION, REDACTION_VERSION],
        },
    )


def run(context: JobContext, request: dict[str, Any]) -> CurationManifest:
    """Job `curations`: curate the documents of a collection, or find that it was done.

    Raises:
        RedactionIncomplete: something to hide is left in the result.
        NotFound, ArtifactCorrupt: a shard is missing or damaged.
        StorageFull: no space left.
        JobCancelled: the job was asked to stop.
    """
    asked = CurationRequest.model_validate(request)
    return curate_documents(context, asked.recipe.documents, asked.collection)


def curate_documents(
    context: JobContext, rules: DocumentRules, collection: CollectionManifest, share: float = 1.0
) -> CurationManifest:
    """See `run`; what the jobs `indexes` and `datasets` begin with.

    Args:
        context: of the job.
        rules: of the recipe.
        collection: to curate.
        share: of the job's progress that this stage may use.
    """
    identity = curation_id(rules, collection)
    stored = context.store.find_manifest(CurationManifest, "curation", identity)
    if stored is not None:
        return stored
    return _Curation(context, rules, collection, identity, share).build()


def read_curated(context: JobContext, manifest: CurationManifest) -> Iterator[CuratedDocument]:
    """Curated documents, by path.

    Raises:
        NotFound, ArtifactCorrupt: the artifact is missing or damaged.
    """
    return read_lines(context.store.path(manifest.documents), CuratedDocument, manifest.documents.name)


@dataclass
class _Curation:
    """One run."""

    context: JobContext
    rules: DocumentRules
    collection: CollectionManifest
    identity: str
    share: float

    def build(self) -> CurationManifest:
        folder = self.context.work_dir / self.identity
        folder.mkdir(exist_ok=True)
        shards = [self._shard(number) for number in range(len(self.collection.shards))]
        counts = _summed([shard.counts for shard in shards])
        drops = [drop for shard in shards for drop in shard.drops]
        units = [unit for shard in shards for unit in shard.kept]
        hashes = {path: sha for shard in shards for path, sha in shard.hashes.items()}
        known = {path: entry for shard in shards for path, entry in shard.urls.items()}

        flooded = Floods(self.rules.flood_documents_min, self.rules.released).review_all(units)
        counts.append(_global_count(Floods.name, len(units), list(flooded.values())))
        drops += flooded.values()
        dates = Dates(self.rules.standings)
        dated = [dates.date(unit) for unit in units if unit.document.source_path not in flooded]
        copies: dict[str, list[MergedCopy]] = {}
        contradictions: tuple[Contradiction, ...] = ()
        if self.rules.supersede:
            superseded = Supersede().review_all(dated)
            counts.append(_global_count(Supersede.name, len(dated), superseded.drops))
            drops += superseded.drops
            contradictions = tuple(superseded.contradictions)
            _merge(copies, superseded.copies)
            dated = superseded.kept
        self.context.report(self.share * 0.9, "looking for copies")
        step = Copies(self.rules.near_duplicate_similarity, self.rules.standings)
        single = step.review_all(dated)
        counts.append(_global_count(Copies.name, len(dated), single.drops))
        drops += single.drops
        _merge(copies, single.copies)
        kept = {unit.document.source_path for unit in single.kept}
        curated = [_curated(one, copies) for one in dated if one.unit.document.source_path in kept]
        self._scan(curated)
        return self._store(
            folder,
            curated=curated,
            drops=drops,
            hashes=hashes,
            known=known,
            counts=counts,
            shards=shards,
            contradictions=contradictions,
        )

    def _shard(self, number: int) -> ReviewedShard:
        shard = self.collection.shards[number]
        of_all = self.share * 0.85 / len(self.collection.shards)
        return reviewed_shard(
            self.context.store,
            self.rules,
            shard,
            lambda done: self.context.report(of_all * (number + done), f"documents: {shard.name}"),
        )

    def _scan(self, curated: Sequence[CuratedDocument]) -> None:
        """Look once more at what goes out.

        Raises:
            RedactionIncomplete: something was found.
        """
        for item in curated:
            document = item.document
            if not item.redactions:
                continue  # Its text was scanned as it is, and nothing was found in it.
            answers = "\n".join(answer.text for answer in document.answers)
            if found := scan(f"{document.title}\n{document.text}\n{document.question}\n{answers}", document.kind):
                kinds = ", ".join(sorted({finding.kind for finding in found}))
                raise RedactionIncomplete(
                    f"{document.source_path} still holds what must not go out ({kinds}): leave the document out "
                    "(`exclude` of its source) and report this."
                )

    def _put(self, path: Path) -> ArtifactRef:
        return self.context.store.put_file(path, path.name)

    def _store(
        self,
        folder: Path,
        *,
        curated: list[CuratedDocument],
        drops: list[DocumentDrop],
        hashes: dict[str, str],
        known: dict[str, tuple[str, str]],
        counts: list[StepCount],
        shards: list[ReviewedShard],
        contradictions: tuple[Contradiction, ...],
    ) -> CurationManifest:
        paragraphs = [drop for shard in shards for unit in shard.kept for drop in unit.paragraph_drops]
        quarantined = [
            QuarantinedDocument(
                source_path=drop.source_path,
                sha256=hashes[drop.source_path],
                reason=drop.reason,
                detail=drop.detail,
                author=known[drop.source_path][0],
                url=known[drop.source_path][1],
                excerpt=drop.excerpt,
            )
            for drop in sorted(drops, key=lambda drop: drop.source_path)
            if drop.reason in QUARANTINE_REASONS
        ]
        report = CurationReport(
            sources=_total(shard.sources for shard in shards),
            kept=dict(sorted(Counter(item.document.source_path.partition("/")[0] for item in curated).items())),
            steps=tuple(counts),
            paragraph_drops=dict(sorted(Counter(drop.reason for drop in paragraphs).items())),
            redactions=_total(item.redactions for item in curated),
            redacted_documents=sum(bool(item.redactions) for item in curated),
            salvaged=sum(unit.salvaged for shard in shards for unit in shard.kept),
            languages=dict(sorted(Counter(item.document.language for item in curated).items())),
            licences=dict(sorted(Counter(item.document.provenance.licence for item in curated).items())),
            outdated_terms=dict(sorted(Counter(term for item in curated for term in item.outdated_terms).items())),
            contradictions=contradictions,
            characters_in=sum(shard.characters for shard in shards),
            characters_kept=sum(len(item.document.text) for item in curated),
        )
        drops = sorted(
            [*drops, *paragraphs], key=lambda drop: (drop.source_path, drop.scope, drop.reason, drop.excerpt)
        )
        write_lines(folder / "documents.jsonl", curated)
        write_lines(folder / "drops.jsonl", drops)
        write_lines(folder / "quarantine.jsonl", quarantined)
        write_atomic(folder / "report.json", report.model_dump_json(indent=1).encode("utf-8"))
        whole = [drop for drop in drops if drop.scope == "document"]
        manifest = CurationManifest(
            id=self.identity,
            collection=self.collection.id,
            rules_sha256=content_hash(self.rules),
            documents=self._put(folder / "documents.jsonl"),
            drops_file=self._put(folder / "drops.jsonl"),
            quarantine=self._put(folder / "quarantine.jsonl"),
            report=self._put(folder / "report.json"),
            documents_kept=len(curated),
            quarantined=len(quarantined),
            drops=dict(sorted(Counter(drop.reason for drop in whole).items())),
            paragraph_drops=report.paragraph_drops,
            redactions=report.redactions,
            created_at=datetime.now(UTC),
        )
        self.context.store.put_manifest(manifest)
        self.context.log(
            f"{self.identity}: {len(curated)} of {self.collection.documents} documents kept, dropped {manifest.drops}, "
            f"{len(paragraphs)} paragraphs dropped, redacted {manifest.redactions}, {len(quarantined)} for review"
        )
        return manifest


def _curated(one: Dated, copies: dict[str, list[MergedCopy]]) -> CuratedDocument:
    document = one.unit.document
    merged = copies.get(document.source_path, [])
    return CuratedDocument(
        document=document,
        copies=tuple(sorted(merged, key=lambda copy: copy.source_path)),
        jenkins_version=one.jenkins_version,
        as_of=one.as_of,
        outdated_terms=outdated_terms(document.text),
        redactions=one.unit.redactions,
    )


def _merge(into: dict[str, list[MergedCopy]], more: dict[str, list[MergedCopy]]) -> None:
    for path, copies in more.items():
        into.setdefault(path, []).extend(copies)


def _global_count(step: str, entered: int, drops: Sequence[DocumentDrop]) -> StepCount:
    return StepCount(step=step, entered=entered, dropped=dict(sorted(Counter(drop.reason for drop in drops).items())))


def _summed(shards: Sequence[Sequence[StepCount]]) -> list[StepCount]:
    total: dict[str, StepCount] = {}
    for count in (count for shard in shards for count in shard):
        known = total.get(count.step) or StepCount(step=count.step, entered=0)
        total[count.step] = StepCount(
            step=count.step,
            entered=known.entered + count.entered,
            dropped=dict(sorted((Counter(known.dropped) + Counter(count.dropped)).items())),
            changed=known.changed + count.changed,
        )
    return list(total.values())


def _total(parts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
