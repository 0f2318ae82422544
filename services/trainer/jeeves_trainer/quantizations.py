"""The job `quantizations`: a training's BF16 GGUF, and its base's, become quantized files of a new model version."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jeeves_shared.contracts.base import manifest_id
from jeeves_shared.contracts.manifests import ModelFile, ModelManifest, TrainingManifest
from jeeves_shared.contracts.requests import QuantizationRequest
from jeeves_shared.engine.binary import engine_version
from jeeves_shared.jobs.store import open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.errors import QuantizationFailed
from jeeves_trainer.gguf_files import check_architecture, check_template, gguf_file_name, write_metadata
from jeeves_trainer.importance_file import Importance, read_importance
from jeeves_trainer.libllama import quantization_types, quantize_file
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.round_trip import Reference, check_bounds, read_probes
from jeeves_trainer.settings import job_threads
from jeeves_trainer.tracking import tell

ACTOR = "trainer"


def quantize(context: JobContext, request: dict[str, Any]) -> ModelManifest:
    """Quantize a training and register the result as the candidate, or return the version made before.

    Args:
        context: of the job.
        request: a `QuantizationRequest`.

    Raises:
        QuantizationFailed: an unknown type, or llama.cpp refused the file.
        TemplateMismatch, TokenizerMismatch, ArchitectureMismatch: a file is not what was trained.
        RoundTripFailed: a quantized file differs too much from BF16.
        NotFound, ArtifactCorrupt: the training's files are gone or damaged.
        JobCancelled: the job was asked to stop.
    """
    body = QuantizationRequest.model_validate(request)
    registry = ModelRegistry(open_database(os.environ["JEEVES_JOB_DATABASE"]))
    identity = manifest_id(
        "model",
        {"training": body.training.id, "quantizations": body.quantizations, "engine": engine_version()},
    )
    reason = f"quantized from {body.training.id}"
    known = context.store.find_manifest(ModelManifest, "model", identity)
    if known:
        context.log(f"{identity} is there already: nothing to quantize")
        registry.register(known, ACTOR, reason)
        tell(lambda mlflow: mlflow.record_models(registry.models()), context.log)
        return known
    unknown = [name for name in body.quantizations if name not in quantization_types()]
    if unknown:
        raise QuantizationFailed(f"Not a quantization of llama.cpp: {', '.join(unknown)}.", tuple(unknown))
    manifest = _quantize_all(context, body, identity, registry.reserve(identity, body.training.model_name))
    context.store.put_manifest(manifest)
    registry.register(manifest, ACTOR, reason)
    tell(lambda mlflow: mlflow.record_models(registry.models()), context.log)
    return manifest


def _quantize_all(context: JobContext, body: QuantizationRequest, identity: str, version: int) -> ModelManifest:
    training = body.training
    stamped = context.work_dir / "stamped.gguf"
    write_metadata(
        context.store.path(training.merged_gguf),
        stamped,
        {"general.version": f"v{version}", "jeeves.model_id": identity, "jeeves.model_name": training.model_name},
    )
    base = context.store.path(training.base_gguf)
    for source in (stamped, base):
        check_architecture(source, training.architecture)
        check_template(source, training.template_sha256)
    reference = _reference(context, training, stamped)
    importance = read_importance(context.store.read_bytes(training.importance)) if training.importance else None
    files: list[ModelFile] = []
    base_files: list[ModelFile] = []
    for number, encoding in enumerate(body.quantizations):
        context.report(0.1 + 0.9 * number / len(body.quantizations), f"quantizing to {encoding}")
        names = (
            gguf_file_name(training.base_model, version, encoding, tuned=True),
            gguf_file_name(training.base_model, 0, encoding, tuned=False),
        )
        target = context.work_dir / names[0]
        file = _quantized(context, stamped, target, encoding, template=training.template_sha256, importance=importance)
        files.append(_checked(context, training, reference, file))
        # The base's inputs hardly differ from the tuned model's: one measurement serves both.
        target = context.work_dir / names[1]
        base_files.append(
            _quantized(context, base, target, encoding, template=training.template_sha256, importance=importance)
        )
    stamped.unlink()
    return ModelManifest(
        id=identity,
        name=training.model_name,
        version=version,
        base_model=training.base_model,
        base_licence=training.base_licence,
        dataset_id=training.dataset_id,
        training_id=training.id,
        recipe_sha256=training.recipe_sha256,
        architecture=training.architecture,
        template_sha256=training.template_sha256,
        prompt_sha256=training.prompt_sha256,
        files=tuple(files),
        base_files=tuple(base_files),
        created_at=datetime.now(UTC),
    )


def _quantized(
    context: JobContext,
    source: Path,
    target: Path,
    encoding: str,
    *,
    template: str,
    importance: Importance | None,
) -> ModelFile:
    quantize_file(source, target, encoding, job_threads(), importance)
    check_template(target, template)
    artifact = context.store.put_file(target)
    target.unlink()
    return ModelFile(quantization=encoding, artifact=artifact)


def _reference(context: JobContext, training: TrainingManifest, merged: Path) -> Reference | None:
    if training.probes is None:
        return None  # of a release that kept none
    context.report(0.05, "reading the BF16 file")
    probes = read_probes(context.store.read_bytes(training.probes))
    return Reference(merged, probes, job_threads(), context.check_cancelled)


def _checked(
    context: JobContext, training: TrainingManifest, reference: Reference | None, file: ModelFile
) -> ModelFile:
    """The file with its round trip, which keeps the recipe's bounds."""
    if reference is None:
        return file
    found = reference.compare(context.store.path(file.artifact))
    context.log(
        f"{file.artifact.name}: KL divergence {found.mean_kl_divergence:.4f}, same first choice "
        f"{found.greedy_agreement:.1%}, perplexity {found.reference_perplexity:.3f} → {found.perplexity:.3f}"
    )
    check_bounds(found, file.quantization, training.round_trip_bounds, file.artifact.name)
    return file.model_copy(update={"round_trip": found})
