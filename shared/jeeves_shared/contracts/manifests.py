"""Manifests: the small, frozen documents that services exchange over HTTP.

A manifest names its inputs, its recipe and its outputs by sha256. Its `id` is a function of inputs and recipe only
(`jeeves_shared.contracts.base.manifest_id`), so that a step that ran already is found again.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.recipes import RoundTripBounds, TrainMethod, TrainStage

ModelAlias = Literal["candidate", "champion", "previous"]


class ArtifactRef(Contract):
    """A file in the artifact store."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    name: str = Field(description="File name for people; not part of the identity of the bytes.")


class CollectionManifest(Contract):
    """Documents of one or more sources. Written by the collector, read by the curator."""

    schema_version: Literal[1] = 1
    kind: Literal["collection"] = "collection"
    id: str
    source_name: str
    source_revision: str = Field(default="", description="Git commit of the source, if it has one.")
    recipe_sha256: str
    shards: tuple[ArtifactRef, ...] = Field(description="JSON Lines of `Document`, sorted by `source_path`.")
    pair_shards: tuple[ArtifactRef, ...] = Field(default=(), description="JSON Lines of `Pair`, as collected.")
    documents: int = Field(ge=0)
    code_blocks: int = Field(ge=0)
    pairs: int = Field(default=0, ge=0)
    drops: dict[str, int] = Field(description="Rejected items by reason.")
    created_at: datetime = Field(description="Not part of the identity.")


class ReviewedShardManifest(Contract):
    """A shard of a collection after the steps on single documents. Written and read by the curator."""

    schema_version: Literal[1] = 1
    kind: Literal["reviewed-shard"] = "reviewed-shard"
    id: str
    shard: str = Field(description="sha256 of the shard.")
    result: ArtifactRef = Field(description="What the steps kept and dropped.")
    created_at: datetime


class CurationManifest(Contract):
    """Documents that are fit to be indexed and learnt from. Written by the curator; read by it and by people."""

    schema_version: Literal[1] = 1
    kind: Literal["curation"] = "curation"
    id: str
    collection: str = Field(description="Id of the collection.")
    rules_sha256: str
    documents: ArtifactRef = Field(description="JSON Lines of `CuratedDocument`, sorted by `source_path`.")
    drops_file: ArtifactRef = Field(description="JSON Lines of `DocumentDrop`: documents and paragraphs.")
    quarantine: ArtifactRef = Field(description="JSON Lines of `QuarantinedDocument`: the review list.")
    report: ArtifactRef = Field(description="`CurationReport`.")
    documents_kept: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    drops: dict[str, int] = Field(description="Documents dropped, by reason.")
    paragraph_drops: dict[str, int] = Field(description="Paragraphs dropped from documents that stayed, by reason.")
    redactions: dict[str, int] = Field(description="Replaced items by kind.")
    created_at: datetime


class IndexManifest(Contract):
    """A search index: one SQLite file. Written by the curator, read by the gateway."""

    schema_version: Literal[1] = 1
    kind: Literal["index"] = "index"
    id: str
    collections: tuple[str, ...] = Field(description="Ids of the collections that it was built from.")
    artifact: ArtifactRef
    documents: int = Field(ge=0)
    sections: int = Field(ge=0)
    embedder: str = Field(description="Name of the embedding model; the reader must use the same.")
    created_at: datetime


class DatasetManifest(Contract):
    """Training and evaluation samples. Written by the curator, read by the trainer."""

    schema_version: Literal[1] = 1
    kind: Literal["dataset"] = "dataset"
    id: str
    collections: tuple[str, ...]
    index_id: str = Field(description="Index that the passages of the samples came from.")
    recipe_sha256: str
    prompt_sha256: str = Field(description="Of the prompt rules that the samples are made for.")
    train: ArtifactRef = Field(description="JSON Lines of `TrainingSample`.")
    evaluation: ArtifactRef = Field(description="JSON Lines of `TrainingSample`; documents that no training row uses.")
    card: ArtifactRef = Field(description="Markdown, for people.")
    train_samples: int = Field(ge=0)
    evaluation_samples: int = Field(ge=0)
    sample_question: str = Field(default="", description="A question of the evaluation split, for demonstrations.")
    pairs_kept: int = Field(ge=0)
    drops: dict[str, int] = Field(description="Pairs dropped, by reason.")
    curation_id: str = Field(default="", description="Curation that the documents went through.")
    card_html: ArtifactRef | None = Field(default=None, description="The card with its pictures, one file.")
    exports: tuple[ArtifactRef, ...] = Field(default=(), description="The rows for other programs; see `exports`.")
    created_at: datetime


class RoundTrip(Contract):
    """How much a file differs from the BF16 weights, on answers to held-out prompts."""

    probes: int = Field(ge=1)
    positions: int = Field(ge=1, description="Answer tokens that were looked at.")
    mean_kl_divergence: float = Field(ge=0, description="Nats; of the file's next-token distribution from BF16's.")
    greedy_agreement: float = Field(ge=0, le=1, description="Share of positions with the same most likely token.")
    perplexity: float
    reference_perplexity: float = Field(description="Of BF16 on the same answers.")


class ModelFile(Contract):
    """One GGUF file of a model version."""

    quantization: str = Field(description="llama.cpp's name of the type, such as `Q8_0`.")
    artifact: ArtifactRef
    round_trip: RoundTrip | None = None


class ModelManifest(Contract):
    """A model version. Written by the trainer, read by the gateway."""

    schema_version: Literal[1] = 1
    kind: Literal["model"] = "model"
    id: str
    name: str = Field(description="For people, such as `jeeves-smollm2-135m`.")
    version: int = Field(ge=0, description="Counts the versions of a name; 0 is the untuned base model.")
    base_model: str
    base_licence: str
    dataset_id: str = Field(description="Empty for the base model.")
    training_id: str = Field(description="Empty for the base model.")
    recipe_sha256: str
    architecture: str = Field(description="As in the GGUF metadata `general.architecture`.")
    template_sha256: str = Field(description="Of the chat template text inside the file.")
    prompt_sha256: str = Field(description="Of the prompt rules that it was trained with.")
    files: tuple[ModelFile, ...]
    base_files: tuple[ModelFile, ...] = Field(
        default=(), description="The untouched base through the same conversion and quantization, for comparison."
    )
    card: ArtifactRef | None = None
    created_at: datetime


class TrainingManifest(Contract):
    """An adapter merged into its base: what comes out of training. Written and read by the trainer."""

    schema_version: Literal[1] = 1
    kind: Literal["training"] = "training"
    id: str
    dataset_id: str
    recipe_sha256: str
    base_model: str
    base_licence: str
    model_name: str
    stage: TrainStage = "sft"
    method: TrainMethod = "lora"
    parent_id: str = Field(default="", description="Training that it started from; empty: the base model itself.")
    adapter: ArtifactRef | None = Field(description="tar of the peft adapter (safetensors); None for method `full`.")
    weights: ArtifactRef | None = Field(
        default=None, description="tar of the tuned weights (BF16 safetensors); for method `full` only."
    )
    adapter_gguf: ArtifactRef | None = Field(
        default=None, description="The adapter for an engine that has the base loaded; None where it cannot be one."
    )
    importance: ArtifactRef | None = Field(
        default=None, description="safetensors: how much each input of a weight matters, for types of few bits."
    )
    merged_gguf: ArtifactRef = Field(description="Merged in BF16 and converted to BF16 GGUF.")
    base_gguf: ArtifactRef = Field(description="The untouched base, converted the same way, for comparison.")
    architecture: str
    template_sha256: str
    prompt_sha256: str
    steps: int = Field(ge=0)
    best_step: int = Field(ge=0, description="Step of the checkpoint with the lowest held-out loss.")
    train_loss: float
    eval_loss_before: float
    eval_loss: float = Field(description="Of the best checkpoint, held out, nats per labelled token (dpo: per pair).")
    tokens_per_second: float
    curve: ArtifactRef = Field(
        description="JSON Lines: step, loss, eval_loss, eval_accuracy, learning_rate, grad_norm, tokens_per_second, "
        "memory_bytes, mfu; those that there are."
    )
    probes: ArtifactRef | None = Field(
        default=None, description="JSON Lines: prompts with their tokens, to check files."
    )
    round_trip_bounds: RoundTripBounds = RoundTripBounds()
    created_at: datetime


class MetricComparison(Contract):
    """One metric on the same samples for base, champion and candidate."""

    name: str
    unit: str = Field(description="`nats/token`, `share`, …")
    higher_is_better: bool
    samples: int = Field(ge=0)
    base: Estimate
    candidate: Estimate
    difference: Estimate = Field(description="candidate − base, paired bootstrap.")
    champion: Estimate | None = None
    champion_difference: Estimate | None = Field(default=None, description="candidate − champion, paired bootstrap.")


class GateCondition(Contract):
    """One condition of a gate, with the figures that decided it."""

    name: str
    passed: bool
    reason: str


class AnswerSample(Contract):
    """A question answered by base and candidate, for the report."""

    suite: str = Field(default="", description="Empty: questions of the data set.")
    question: str
    reference: str
    base: str
    candidate: str


class FileSpeed(Contract):
    """How fast one quantization answers on the machine of the evaluation, one question at a time."""

    quantization: str
    size_bytes: int = Field(ge=0)
    first_token_seconds: Estimate
    tokens_per_second: Estimate
    memory_bytes: int = Field(ge=0, description="Highest resident memory of the engine's process.")


class EvaluationReport(Contract):
    """The verdict on one GGUF file. Written by the trainer; read by the command line, Jenkins and people."""

    schema_version: Literal[1] = 1
    kind: Literal["evaluation"] = "evaluation"
    id: str
    model_id: str
    file: ArtifactRef
    quantization: str
    engine: str = Field(description="Name and version of the engine that ran the file.")
    recipe_sha256: str = Field(default="", description="Of the recipe; empty in reports of earlier releases.")
    dataset_id: str
    evaluation_sha256: str = Field(description="Of the frozen evaluation samples.")
    metrics: tuple[MetricComparison, ...]
    gate: tuple[GateCondition, ...]
    passed: bool
    samples: tuple[AnswerSample, ...]
    speeds: tuple[FileSpeed, ...] = Field(default=(), description="Where the recipe asks for them.")
    created_at: datetime


class ExamReport(Contract):
    """How base and candidate did. Written by the trainer; read by the command line and people."""

    schema_version: Literal[1] = 1
    kind: Literal["exam"] = "exam"
    id: str
    exam: str
    exam_sha256: str = Field(description="Of its questions and examples.")
    model_id: str
    file: ArtifactRef
    quantization: str
    engine: str
    metrics: tuple[MetricComparison, ...] = Field(description="`accuracy_0_shot`, …; chance is 0.25.")
    wrong: dict[str, tuple[str, ...]] = Field(description="Ids that the candidate had wrong, by metric.")
    created_at: datetime


Manifest = (
    CollectionManifest
    | ReviewedShardManifest
    | CurationManifest
    | IndexManifest
    | DatasetManifest
    | ModelManifest
    | TrainingManifest
    | EvaluationReport
    | ExamReport
)
