"""The job `trainings`: a recipe and a data set become an adapter and merged weights as BF16 GGUF."""

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jeeves_shared.contracts.base import manifest_id
from jeeves_shared.contracts.forms import DatasetPart
from jeeves_shared.contracts.manifests import TrainingManifest
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import LocatedModel, locate
from jeeves_trainer.ranks import launch
from jeeves_trainer.stages import stage_rows
from jeeves_trainer.tracking import tell

if TYPE_CHECKING:
    from jeeves_trainer.training_run import TrainingRun

PROCEDURE = 1
"""Part of every training's identity: raise it when the same recipe and data shall give another result."""


def train(context: JobContext, request: dict[str, Any]) -> TrainingManifest:
    """Run a training, or return the one that ran before.

    Args:
        context: of the job.
        request: a `TrainingRequest`.

    Raises:
        RecipeError: recipe and data set do not fit each other or this release.
        TrainerError: see `jeeves_trainer.errors`.
        JobCancelled: the job was asked to stop.
    """
    body = TrainingRequest.model_validate(request)
    check_request(body)
    located = locate(body.recipe.base_model)
    identity = training_id(body, located)
    known = context.store.find_manifest(TrainingManifest, "training", identity)
    if known:
        context.log(f"{identity} is there already: nothing to train")
        _tell_mlflow(context, body, known)
        return known
    manifest = _run(context, body, identity)
    _tell_mlflow(context, body, manifest)
    return manifest


def _run(context: JobContext, body: TrainingRequest, identity: str) -> TrainingManifest:
    if body.recipe.processes > 1:
        import torch  # noqa: PLC0415 - seconds, only now

        return launch(context, body, identity, gpus=torch.cuda.device_count())
    run = prepare_run(context, body)
    return run.finish(run.tune())


def _tell_mlflow(context: JobContext, body: TrainingRequest, manifest: TrainingManifest) -> None:
    curve = [json.loads(line) for line in context.store.read_bytes(manifest.curve).splitlines()]
    tell(lambda mlflow: mlflow.record_training(manifest, body.recipe, curve), context.log)


def run_share(context: JobContext, body: TrainingRequest, *, first: bool) -> None:
    """One process's share of a training; the first one also writes the manifest.

    Args:
        context: of the job, in this process.
        body: the request.
        first: this is rank 0.

    Raises:
        RecipeError, TrainerError, JobCancelled: as `train`.
    """
    run = prepare_run(context, body)
    tuned = run.tune()
    if first:
        run.finish(tuned)


def prepare_run(context: JobContext, body: TrainingRequest) -> "TrainingRun":
    """A training, ready to start in this process; imports torch and its family."""
    # trl and the hub would report usage to their makers; read when they are imported.
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ[name] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from jeeves_trainer.training_run import TrainingRun  # noqa: PLC0415 - torch and its family: seconds, only now

    located = locate(body.recipe.base_model)
    return TrainingRun(context, body, located, training_id(body, located))


def check_request(body: TrainingRequest) -> None:
    """Check what can be checked before any work.

    Raises:
        RecipeError: with every mistake.
    """
    mistakes = tuple(
        message
        for wrong, message in (
            (
                body.dataset.prompt_sha256 != PROMPT_SHA256,
                f"data set {body.dataset.id} was made for other prompt rules: curate it again",
            ),
            (body.dataset.train_samples == 0, f"data set {body.dataset.id} has no training sample"),
            (body.dataset.evaluation_samples == 0, f"data set {body.dataset.id} has no evaluation sample"),
            *_stage_mistakes(body),
        )
        if wrong
    )
    if mistakes:
        raise RecipeError(f"{len(mistakes)} mistake(s): {'; '.join(mistakes)}.", mistakes)


def _stage_mistakes(body: TrainingRequest) -> Iterator[tuple[bool, str]]:
    stage, parent = body.recipe.stage, body.parent
    parts: tuple[DatasetPart, ...] = ("train", "evaluation")
    for part in parts:
        missing = stage_rows(body.dataset, stage, part) is None
        yield missing, f"data set {body.dataset.id} has no {part} rows for stage {stage}: curate it again"
    if parent is not None:
        ours = body.recipe.base_model.name
        yield (
            parent.base_model != ours,
            f"{parent.id} was trained from {parent.base_model}, the recipe names {ours}: one chain has one base model",
        )


def training_id(body: TrainingRequest, located: LocatedModel) -> str:
    """Identity of a training: its data set, recipe, base model and procedure."""
    left_out = {"quantizations"}
    if body.recipe.processes == 1:
        left_out |= {"processes", "sharding"}  # as before there were several: what ran then is found again
    return manifest_id(
        "training",
        {
            "dataset": body.dataset.id,
            "recipe": body.recipe.model_dump(mode="json", exclude=left_out),
            "base": located.sha256,
            "procedure": PROCEDURE,
            **({"parent": body.parent.id} if body.parent else {}),
        },
    )
