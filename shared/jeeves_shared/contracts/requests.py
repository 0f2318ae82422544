"""Request bodies of the job and model resources. Written by the command line and Jenkins, read by the services."""

from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.exams import Exam
from jeeves_shared.contracts.manifests import (
    CollectionManifest,
    DatasetManifest,
    IndexManifest,
    ModelAlias,
    ModelManifest,
    TrainingManifest,
)
from jeeves_shared.contracts.recipes import CollectRecipe, CurateRecipe, EvaluateRecipe, TrainRecipe


class CollectionRequest(Contract):
    """`POST /v1/collections` of the collector; result: `CollectionManifest`."""

    recipe: CollectRecipe


class CurationRequest(Contract):
    """`POST /v1/curations` of the curator; result: `CurationManifest`."""

    recipe: CurateRecipe
    collection: CollectionManifest


class IndexRequest(Contract):
    """`POST /v1/indexes` of the curator; result: `IndexManifest`."""

    recipe: CurateRecipe
    collection: CollectionManifest


class DatasetRequest(Contract):
    """`POST /v1/datasets` of the curator; result: `DatasetManifest`."""

    recipe: CurateRecipe
    collection: CollectionManifest
    index: IndexManifest
    previous: DatasetManifest | None = Field(
        default=None, description="Compared with on the card. Not part of the identity: the rows do not depend on it."
    )


class TrainingRequest(Contract):
    """`POST /v1/trainings` of the trainer; result: `TrainingManifest`."""

    recipe: TrainRecipe
    dataset: DatasetManifest
    parent: TrainingManifest | None = Field(
        default=None, description="Training whose merged weights this one starts from: the stage before in a chain."
    )


class QuantizationRequest(Contract):
    """`POST /v1/quantizations` of the trainer; result: `ModelManifest`, registered as `candidate`."""

    training: TrainingManifest
    quantizations: tuple[str, ...] = Field(min_length=1)


class EvaluationRequest(Contract):
    """`POST /v1/evaluations` of the trainer; result: `EvaluationReport`."""

    recipe: EvaluateRecipe
    model: ModelManifest
    quantization: str
    dataset: DatasetManifest
    champion: ModelManifest | None = None


class ExamRequest(Contract):
    """`POST /v1/exams` of the trainer; result: `ExamReport`."""

    exam: Exam
    model: ModelManifest
    quantization: str
    shots: tuple[int, ...] = Field(default=(0, 5), min_length=1, description="Examples before each question.")
    seed: int = 17
    resamples: int = Field(default=2000, ge=200)


class PromotionRequest(Contract):
    """`POST /v1/models/{model_id}/promote` of the trainer."""

    evaluation_id: str = Field(description="A report on this model that passed its gate.")
    reason: str = ""


class RollbackRequest(Contract):
    """`POST /v1/models/rollback` of the trainer: the previous champion becomes the champion again."""

    reason: str = ""


class RegisteredModel(Contract):
    """A model version in the trainer's registry, `GET /v1/models`."""

    manifest: ModelManifest
    aliases: tuple[ModelAlias, ...]


class ServeModelRequest(Contract):
    """`PUT /v1/admin/models/champion` of the gateway: load, verify, shift, drain, unload."""

    model: ModelManifest
    quantization: str


class ServeIndexRequest(Contract):
    """`PUT /v1/admin/index` of the gateway."""

    index: IndexManifest


class ServedModel(Contract):
    """What the gateway serves now."""

    id: str
    name: str
    version: int
    quantization: str
    sha256: str
    state: Literal["starting", "ready", "draining", "failed"]
