"""The job `datasets`: the pairs of a collection become training and evaluation rows.

Each stage leaves its result in the job's work folder, written whole or not at all; a restarted job goes on after the
last one. Nothing here depends on time, order of folders or the machine: the same input gives the same bytes.
"""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from jeeves_curator.card import CardFacts, card_sections, card_summary, card_title
from jeeves_curator.card_forms import as_html, as_markdown
from jeeves_curator.derive import PAIRS_ENOUGH, derive_pairs
from jeeves_curator.documents.curation import curate_documents, curation_id, read_curated
from jeeves_curator.errors import RedactionIncomplete, TeacherUnavailable
from jeeves_curator.exports import write_exports
from jeeves_curator.leakage import Exam
from jeeves_curator.pair_homes import PairHomes
from jeeves_curator.preferences import counted, preferences
from jeeves_curator.quality import grade
from jeeves_curator.redaction import scan
from jeeves_curator.samples import SampleMaker, sample_question
from jeeves_curator.shards import read_lines, read_pairs, write_lines
from jeeves_curator.split import split_pairs
from jeeves_curator.steps import (
    AnswerLength,
    ContextBound,
    DocumentKnown,
    Drop,
    Duplicates,
    Normalize,
    PairStep,
    RedactPair,
    SameQuestion,
    Supported,
    Suspicious,
    Trivial,
    review_pairs,
)
from jeeves_curator.support import SupportFinder
from jeeves_curator.tasks import task_pairs
from jeeves_curator.teacher import Teacher
from jeeves_curator.texts import clean_texts
from jeeves_curator.threads import Answered, is_answered, thread_of, thread_pairs
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.base import content_hash, manifest_id
from jeeves_shared.contracts.curation import CuratedDocument, CurationReport, DocumentDrop
from jeeves_shared.contracts.documents import Document, Pair, TrainingSample
from jeeves_shared.contracts.manifests import ArtifactRef, DatasetManifest
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.contracts.requests import DatasetRequest
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.search import SearchIndex, Section

DATASETS_VERSION = 5
"""Bump with any change to what rows come out of the same input."""

logger = logging.getLogger(__name__)


class CuratedPairs(BaseModel):
    """Result of the first two stages: pairs of both parts, and what was dropped on the way."""

    train: list[Pair]
    evaluation: list[Pair]
    drops: list[Drop]
    entered: dict[str, int]
    derived: int
    ngram_overlap: float


def dataset_id(asked: DatasetRequest) -> str:
    """Identity of the data set: collection, index, recipe, prompt rules, and the rules of this version."""
    return manifest_id(
        "dataset",
        {
            "collection": asked.collection.id,
            "curation": curation_id(asked.recipe.documents, asked.collection),
            "index": asked.index.id,
            "recipe": asked.recipe.model_dump(mode="json", exclude={"name"}),
            "prompt": PROMPT_SHA256,
            "rules": DATASETS_VERSION,
        },
    )


def run(context: JobContext, request: dict[str, Any]) -> DatasetManifest:
    """Build a data set, or find it.

    Raises:
        DatasetTooSmall: too few usable pairs or documents.
        NotFound, ArtifactCorrupt: an artifact is missing or damaged.
        IndexUnusable: the index was built by another version.
        RedactionIncomplete: something to hide is left in a document or a pair.
        GroovyFailed: the parser of Jenkinsfiles did not answer.
        StorageFull: no space left.
        JobCancelled: the job was asked to stop.
    """
    asked = DatasetRequest.model_validate(request)
    identity = dataset_id(asked)
    stored = context.store.find_manifest(DatasetManifest, "dataset", identity)
    if stored is not None:
        context.log(f"{identity} is there already")
        return stored
    index = SearchIndex.open(context.store.path(asked.index.artifact))
    try:
        return DatasetJob(context, asked, index, identity).build()
    finally:
        index.close()


class DatasetJob:
    """One run of the job, with what its stages share.

    Args:
        context: of the job.
        asked: the request.
        index: open, that the request names.
        identity: of the manifest.
    """

    def __init__(self, context: JobContext, asked: DatasetRequest, index: SearchIndex, identity: str) -> None:
        self._context = context
        self._asked = asked
        self._recipe = asked.recipe
        self._identity = identity
        self._folder = context.work_dir / identity
        self._folder.mkdir(exist_ok=True)
        self._finder = SupportFinder(index)
        self._index = index
        self._curation = curate_documents(context, asked.recipe.documents, asked.collection, 0.1)
        self._documents = list(read_curated(context, self._curation))
        self._threads = {
            item.document.source_path: item.document for item in self._documents if item.document.kind == "question"
        }

    def build(self) -> DatasetManifest:
        """All stages, then the manifest."""
        pairs = self._curated()
        maker = SampleMaker(self._index, self._finder, self._recipe)
        train = self._rows(
            "train.jsonl", lambda: maker.training(pairs.train, self._watch("train", len(pairs.train), 0.5))
        )
        evaluation = self._rows(
            "evaluation.jsonl",
            lambda: maker.evaluation(pairs.evaluation, self._watch("evaluation", len(pairs.evaluation), 0.85)),
        )
        kept = [*pairs.train, *pairs.evaluation]
        curated = self._documents
        self._scan_again(train, evaluation)
        graded = grade(
            ((item.document.source_path, item.document.text) for item in curated if self._is_learnt(item)),
            self._recipe.seed,
        )
        texts = clean_texts(graded.texts, self._held_out(pairs.evaluation), Exam(pairs.evaluation))
        facts = CardFacts(
            dataset_id=self._identity,
            recipe=self._recipe,
            entered=pairs.entered,
            kept=kept,
            drops=pairs.drops,
            train=train,
            evaluation=evaluation,
            derived=pairs.derived,
            ngram_overlap=pairs.ngram_overlap,
            report=CurationReport.model_validate_json(self._context.store.read_bytes(self._curation.report)),
            documents=curated,
            document_drops=list(
                read_lines(self._context.store.path(self._curation.drops_file), DocumentDrop, "drops.jsonl")
            ),
            graded=graded,
            text_leaks=texts.leaks,
            preferences=counted(preferences(train, {item.document.source_path: item for item in curated})),
            previous=self._asked.previous,
        )
        card = (card_title(facts), card_summary(facts), card_sections(facts))
        write_atomic(self._folder / "card.md", as_markdown(*card).encode("utf-8"))
        write_atomic(self._folder / "card.html", as_html(*card).encode("utf-8"))
        self._context.report(0.97, "writing the forms for other programs")
        exports = write_exports(self._folder, {"train": train, "evaluation": evaluation}, curated, texts)
        manifest = DatasetManifest(
            id=self._identity,
            collections=(self._asked.collection.id,),
            index_id=self._asked.index.id,
            recipe_sha256=content_hash(self._recipe),
            prompt_sha256=PROMPT_SHA256,
            train=self._store("train.jsonl"),
            evaluation=self._store("evaluation.jsonl"),
            card=self._store("card.md"),
            card_html=self._store("card.html"),
            exports=tuple(self._store(path.name) for path in exports),
            train_samples=len(train),
            evaluation_samples=len(evaluation),
            sample_question=sample_question(evaluation),
            pairs_kept=len(kept),
            drops=_count(pairs.drops),
            curation_id=self._curation.id,
            created_at=datetime.now(UTC),
        )
        self._context.store.put_manifest(manifest)
        self._context.log(
            f"{self._identity}: {len(kept)} pairs kept, {len(pairs.drops)} dropped {manifest.drops}; "
            f"{len(train)} training and {len(evaluation)} evaluation rows"
        )
        return manifest

    def _curated(self) -> CuratedPairs:
        path = self._folder / "pairs.json"
        if path.is_file():
            try:
                return CuratedPairs.model_validate_json(path.read_bytes())
            except ValidationError:
                # Left behind by another version of this program: do it again.
                logger.info("work file of another version, ignored", extra={"file": path.name})
        homes = PairHomes(self._documents)
        collected = sorted(
            (
                pair.model_copy(update={"source_path": homes.of(pair.source_path) if pair.source_path else ""})
                for pair in read_pairs(self._context.store, self._asked.collection)
            ),
            key=lambda pair: (pair.id, pair.question),
        )
        # Pairs by hand come with their facts; of two copies of a question theirs stays.
        collected.sort(key=lambda pair: not pair.key_terms)
        asked = frozenset(pair.source_path for pair in collected)
        collected += thread_pairs(self._threads.values(), asked)
        if self._recipe.task_families:
            collected += task_pairs(
                self._sectioned(), self._recipe.task_families, self._recipe.task_pairs_max, self._recipe.seed
            )
        collected += self._taught()
        steps = self._steps()
        review = review_pairs(collected, steps, self._watch("pairs", len(collected), 0.0))
        derived: list[Pair] = []
        if sum(pair.kind != "refusal" for pair in review.kept) < PAIRS_ENOUGH:
            derived = derive_pairs(
                self._sectioned(),
                self._recipe.derive_pairs_max,
                self._recipe.seed,
            )
            more = review_pairs(derived, steps, self._watch("derived pairs", len(derived), 0.25))
            review.kept += more.kept
            review.drops += more.drops
            review.entered.update(more.entered)
        self._context.log(f"{len(review.kept)} pairs kept, {len(review.drops)} dropped: {review.reasons()}")
        split = split_pairs(review.kept, self._recipe.evaluation_share, self._recipe.seed, self._units())
        result = CuratedPairs(
            train=split.train,
            evaluation=split.evaluation,
            drops=[*review.drops, *split.leaks],
            entered={step.name: review.entered[step.name] for step in steps},
            derived=len(derived),
            ngram_overlap=split.ngram_overlap,
        )
        write_atomic(path, result.model_dump_json().encode("utf-8"))
        return result

    def _taught(self) -> list[Pair]:
        """Proposals of the teacher; none if there is no teacher, or it is away: then headings have to do."""
        settings = self._recipe.teacher
        if settings is None:
            return []
        teacher = Teacher(settings, os.environ.get("JEEVES_TEACHER_KEY", ""), self._folder / "teacher")
        try:
            return list(
                teacher.pairs(self._sectioned(), self._recipe.seed, self._watch("teacher", settings.sections_max, 0.0))
            )
        except TeacherUnavailable as exc:
            self._context.log(f"{exc.detail} Going on without it.")
            return []
        finally:
            teacher.close()

    def _steps(self) -> tuple[PairStep, ...]:
        return (
            Suspicious(),  # Before the hidden characters that it looks for are taken out.
            Normalize(),
            RedactPair(),  # Before every step whose drops are shown on the card.
            Answered(self._threads),
            AnswerLength(self._recipe.answer_characters_max),
            ContextBound(),
            Trivial(),
            DocumentKnown(self._finder.knows),
            Duplicates(self._recipe.near_duplicate_similarity),
            SameQuestion(self._recipe.same_question_similarity, self._threads),
            Supported(self._finder),
        )

    def _scan_again(self, *parts: list[TrainingSample]) -> None:
        """The last look, at every pair as it goes out; passages come from documents that were looked at.

        Raises:
            RedactionIncomplete: something to hide is left.
        """
        texts = {
            "\n".join((row.pair.question, row.pair.answer, *row.pair.key_terms)): row for part in parts for row in part
        }
        for text, row in texts.items():
            if found := scan(text, "question"):
                kinds = ", ".join(sorted({finding.kind for finding in found}))
                raise RedactionIncomplete(
                    f"Pair {row.pair.id} still holds what must not go out ({kinds}): take it out of its source and "
                    "report this."
                )

    def _sectioned(self) -> Iterator[tuple[Document, list[Section]]]:
        for item in self._documents:
            yield item.document, self._index.sections_of(item.document.source_path)

    def _units(self) -> dict[str, str]:
        return {path: thread_of(document) for path, document in self._threads.items()}

    def _held_out(self, evaluation: list[Pair]) -> frozenset[str]:
        """Paths of the documents that belong to the evaluation part, and of those of the same threads."""
        whole = self._units()
        held_out = {whole.get(pair.source_path, pair.source_path) for pair in evaluation if pair.source_path}
        paths = (item.document.source_path for item in self._documents)
        return frozenset(path for path in paths if whole.get(path, path) in held_out)

    def _is_learnt(self, item: CuratedDocument) -> bool:
        """A thread is text to train on only if somebody answered it well."""
        thread = self._threads.get(item.document.source_path)
        return thread is None or is_answered(thread)

    def _rows(self, name: str, make: Callable[[], list[TrainingSample]]) -> list[TrainingSample]:
        path = self._folder / name
        if not path.is_file():
            write_lines(path, make())
        return list(read_lines(path, TrainingSample, name))

    def _store(self, name: str) -> ArtifactRef:
        return self._context.store.put_file(self._folder / name, name)

    def _watch(self, what: str, total: int, start: float) -> Callable[[int], None]:
        share = 0.25 if start < 0.5 else 0.35 if start < 0.8 else 0.14

        def watch(number: int) -> None:
            self._context.report(start + share * number / max(total, 1), f"{what}: {number} of {total}")

        return watch


def _count(drops: list[Drop]) -> dict[str, int]:
    reasons = [drop.reason for drop in drops]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}
