"""Jobs that make valid manifests in no time, in processes of their own like the real ones."""

import time
from datetime import UTC, datetime
from typing import Any

from jeeves_shared.contracts.base import content_hash, manifest_id
from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import (
    AnswerSample,
    CollectionManifest,
    DatasetManifest,
    EvaluationReport,
    GateCondition,
    IndexManifest,
    MetricComparison,
    ModelFile,
    ModelManifest,
    TrainingManifest,
)
from jeeves_shared.contracts.requests import (
    CollectionRequest,
    DatasetRequest,
    EvaluationRequest,
    IndexRequest,
    QuantizationRequest,
    TrainingRequest,
)
from jeeves_shared.errors import SourceUnusable
from jeeves_shared.jobs.worker import JobContext

SHA = "ab" * 32


def now() -> datetime:
    return datetime.now(UTC)


def collect(context: JobContext, request: dict[str, Any]) -> CollectionManifest:
    """`unusable` fails; `slow` takes three seconds, of which each is done once."""
    recipe = CollectionRequest.model_validate(request).recipe
    if recipe.name == "unusable":
        raise SourceUnusable("No usable document in /x: give a folder with AsciiDoc or Markdown files.")
    steps = 30 if recipe.name == "slow" else 1
    journal = context.work_dir / "steps"
    done = len(journal.read_text().splitlines()) if journal.exists() else 0
    for number in range(done, steps):
        time.sleep(0.1 if steps > 1 else 0)
        with journal.open("a") as file:
            file.write(f"{number}\n")
        context.report((number + 1) / steps, f"document {number + 1}")
    manifest = CollectionManifest(
        id=manifest_id("collection", recipe),
        source_name=recipe.name,
        recipe_sha256=content_hash(recipe),
        shards=(context.store.put_bytes(journal.read_bytes(), "shard.jsonl"),),
        documents=len(journal.read_text().splitlines()),
        code_blocks=2,
        pairs=3,
        drops={"empty": 1},
        created_at=now(),
    )
    # Equal inputs, equal manifest: as the real jobs, it gives the stored one when there is one.
    if (stored := context.store.find_manifest(CollectionManifest, "collection", manifest.id)) is not None:
        return stored
    context.store.put_manifest(manifest)
    return manifest


def index(context: JobContext, request: dict[str, Any]) -> IndexManifest:
    body = IndexRequest.model_validate(request)
    return IndexManifest(
        id=manifest_id("index", [body.recipe.name, body.collection.id]),
        collections=(body.collection.id,),
        artifact=context.store.put_bytes(b"index", "index.sqlite"),
        documents=1,
        sections=4,
        embedder="none",
        created_at=now(),
    )


def dataset(context: JobContext, request: dict[str, Any]) -> DatasetManifest:
    body = DatasetRequest.model_validate(request)
    return DatasetManifest(
        id=manifest_id("dataset", [body.recipe.name, body.index.id]),
        collections=(body.collection.id,),
        index_id=body.index.id,
        recipe_sha256=SHA,
        prompt_sha256=SHA,
        train=context.store.put_bytes(b"train", "train.jsonl"),
        evaluation=context.store.put_bytes(b"evaluation", "evaluation.jsonl"),
        card=context.store.put_bytes(b"# card", "card.md"),
        train_samples=10,
        evaluation_samples=5,
        sample_question="How do I bind a secret?",
        pairs_kept=8,
        drops={"duplicate": 2},
        created_at=now(),
    )


def training(context: JobContext, request: dict[str, Any]) -> TrainingManifest:
    body = TrainingRequest.model_validate(request)
    return TrainingManifest(
        id=manifest_id("training", [body.recipe.name, body.dataset.id]),
        dataset_id=body.dataset.id,
        recipe_sha256=SHA,
        base_model=body.recipe.base_model.name,
        base_licence=body.recipe.base_model.licence,
        model_name=body.recipe.model_name,
        adapter=context.store.put_bytes(b"adapter", "adapter.tar"),
        merged_gguf=context.store.put_bytes(b"merged", "merged.gguf"),
        base_gguf=context.store.put_bytes(b"base", "base.gguf"),
        architecture="llama",
        template_sha256=SHA,
        prompt_sha256=SHA,
        steps=4,
        best_step=3,
        train_loss=1.5,
        eval_loss_before=2.5,
        eval_loss=2.0,
        tokens_per_second=400.0,
        curve=context.store.put_bytes(b"curve", "curve.jsonl"),
        created_at=now(),
    )


def quantization(context: JobContext, request: dict[str, Any]) -> ModelManifest:
    body = QuantizationRequest.model_validate(request)
    manifest = ModelManifest(
        id=manifest_id("model", [body.training.id, list(body.quantizations)]),
        name=body.training.model_name,
        version=1,
        base_model=body.training.base_model,
        base_licence=body.training.base_licence,
        dataset_id=body.training.dataset_id,
        training_id=body.training.id,
        recipe_sha256=SHA,
        architecture="llama",
        template_sha256=SHA,
        prompt_sha256=SHA,
        files=tuple(
            ModelFile(quantization=kind, artifact=context.store.put_bytes(kind.encode(), f"{kind}.gguf"))
            for kind in body.quantizations
        ),
        created_at=now(),
    )
    if context.store.find_manifest(ModelManifest, "model", manifest.id) is None:
        context.store.put_manifest(manifest)
    return manifest


def evaluation(context: JobContext, request: dict[str, Any]) -> EvaluationReport:
    """The gate of a recipe named `strict` refuses."""
    body = EvaluationRequest.model_validate(request)
    passed = body.recipe.name != "strict"
    metric = MetricComparison(
        name="answer_loss",
        unit="nats/token",
        higher_is_better=False,
        samples=5,
        base=Estimate(value=2.5, low=2.4, high=2.6),
        candidate=Estimate(value=2.0, low=1.9, high=2.1),
        difference=Estimate(value=-0.5, low=-0.6, high=-0.4),
    )
    return EvaluationReport(
        id=manifest_id("evaluation", [body.recipe.name, body.model.id]),
        model_id=body.model.id,
        file=body.model.files[0].artifact,
        quantization=body.quantization,
        engine="none",
        recipe_sha256=content_hash(body.recipe),
        dataset_id=body.dataset.id,
        evaluation_sha256=SHA,
        metrics=(metric,),
        gate=(GateCondition(name="answer_loss", passed=passed, reason="−0.50 where −0.05 is asked for"),),
        passed=passed,
        samples=(AnswerSample(question="q", reference="r", base="b", candidate="c"),),
        created_at=now(),
    )
