"""Documents, then answers, then preferences: each stage starts from what came out of the one before."""

import io
import itertools
import pickle
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.forms import ChatTurn, PreferenceRow, TextRow, form_file
from jeeves_shared.contracts.manifests import ArtifactRef, DatasetManifest, TrainingManifest
from jeeves_shared.contracts.prompts import REFUSAL, build_messages
from jeeves_shared.contracts.recipes import TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import locate
from jeeves_trainer.errors import BaseModelUnusable
from jeeves_trainer.lineage import starting_folder, unpack
from jeeves_trainer.merging import CONFIG_FILE, WEIGHTS_FILE
from jeeves_trainer.trainings import check_request, train, training_id

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")

WHENCE = {"url": "", "licence": "CC-BY-4.0", "attribution": "Jenkins"}


def lines(store: ArtifactStore, rows: Iterable[Contract], name: str) -> ArtifactRef:
    return store.put_bytes("".join(f"{row.model_dump_json()}\n" for row in rows).encode(), name)


@pytest.fixture
def new_context(tmp_path: Path) -> Callable[[], JobContext]:
    """Makes the context of another job."""
    jobs = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))

    numbers = itertools.count()

    def make() -> JobContext:
        job = jobs.submit("trainings", {"number": next(numbers)}, "always").job
        folder = tmp_path / "trainer" / "work" / job.id
        folder.mkdir(parents=True)
        return JobContext(job.id, folder, ArtifactStore(str(tmp_path / "store")), jobs)

    return make


@pytest.fixture
def context(new_context: Callable[[], JobContext]) -> JobContext:
    return new_context()


@pytest.fixture
def dataset(
    context: JobContext, make_dataset: Callable[..., DatasetManifest], samples: list[TrainingSample]
) -> DatasetManifest:
    answers = [sample for sample in samples if sample.answerable and not sample.passages][:32]
    texts = [
        TextRow(
            id=f"page-{at}#0",
            source_path=f"page-{at}",
            text="Handbook › Page\n\n" + "\n\n".join(sample.pair.answer for sample in answers[at : at + 4]),
            language="en",
            as_of="",
            **WHENCE,
        )
        for at in range(0, 32, 4)
    ]
    preferences = [
        PreferenceRow(
            id=sample.pair.id,
            source_path=sample.pair.source_path,
            prompt=tuple(ChatTurn(**turn) for turn in build_messages(sample.pair.question, ())),
            chosen=(ChatTurn(role="assistant", content=sample.pair.answer),),
            rejected=(ChatTurn(role="assistant", content=REFUSAL),),
            origin="grounding",
            **WHENCE,
        )
        for sample in answers[:16]
    ]
    store = context.store
    return make_dataset(store, 24, 4).model_copy(
        update={
            "exports": (
                lines(store, texts[:6], form_file("train", "text")),
                lines(store, texts[6:], form_file("evaluation", "text")),
                lines(store, preferences[:12], form_file("train", "preference")),
                lines(store, preferences[12:], form_file("evaluation", "preference")),
            )
        }
    )


def recipe(base: Path, **change: Any) -> TrainRecipe:
    settings = {
        "name": "tiny",
        "model_name": "jeeves-tiny",
        "base_model": {"name": "Tiny-3M-Instruct", "location": str(base), "licence": "Apache-2.0"},
        "lora": {"rank": 4, "alpha": 8},
        "learning_rate": 1e-2,
        "epochs": 1,
        "max_steps": 3,
        "micro_batch_samples": 2,
        "max_length_tokens": 1024,
        "evaluations_per_run": 1,
        "evaluation_samples_max": 4,
    }
    return TrainRecipe.model_validate({**settings, **change})


@pytest.mark.slow
def test_three_stages_in_a_row(
    new_context: Callable[[], JobContext], context: JobContext, dataset: DatasetManifest, tiny_model: Path
):
    def run(wanted: TrainRecipe, parent: TrainingManifest | None) -> TrainingManifest:
        body = TrainingRequest(recipe=wanted, dataset=dataset, parent=parent)
        return train(new_context(), body.model_dump(mode="json"))

    texts = run(recipe(tiny_model, stage="cpt", max_length_tokens=256, adapter_gguf=True), None)
    answers = run(recipe(tiny_model, method="full", learning_rate=1e-3), texts)
    preferences = run(recipe(tiny_model, stage="dpo"), answers)

    assert (texts.parent_id, answers.parent_id, preferences.parent_id) == ("", texts.id, answers.id)
    assert [(run.stage, run.method) for run in (texts, answers, preferences)] == [
        *(("cpt", "lora"), ("sft", "full"), ("dpo", "lora"))
    ]
    assert texts.eval_loss < texts.eval_loss_before and answers.eval_loss < answers.eval_loss_before
    assert preferences.eval_loss_before == pytest.approx(0.6931, abs=1e-3)
    assert texts.base_gguf.sha256 == preferences.base_gguf.sha256, "all are compared with the untuned base"
    store = context.store
    metadata = read_gguf(store.path(preferences.merged_gguf)).jeeves
    assert metadata["jeeves.parent_training_id"] == answers.id
    assert texts.adapter_gguf is not None and answers.adapter is None and answers.weights is not None
    adapter = read_gguf(store.path(texts.adapter_gguf))
    assert (adapter.values["general.type"], adapter.architecture) == ("adapter", "llama")

    # The weights are made again from the lineage; what was trained is what the next one starts from.
    base = next(context.work_dir.parent.parent.glob("base-models/*/base-BF16.gguf")).parent / "hf"
    again = starting_folder(base, preferences, store, context.work_dir / "again", lambda: None)
    tuned, start = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (again, base))
    ids = torch.arange(5, 60)[None]
    with torch.no_grad():
        assert not torch.allclose(tuned(ids).logits, start(ids).logits, atol=1e-2)


def test_a_stage_without_rows_or_of_another_base_is_refused(
    dataset: DatasetManifest, tiny_model: Path, make_training: Callable[..., TrainingManifest]
):
    wanted = recipe(tiny_model, stage="dpo")
    other = make_training(dataset.train, base_model="Another-7B")
    bare = dataset.model_copy(update={"exports": ()})
    with pytest.raises(RecipeError) as caught:
        check_request(TrainingRequest(recipe=wanted, dataset=bare, parent=other))
    assert len(caught.value.errors) == 3
    assert "one chain has one base model" in caught.value.errors[2]
    fine = TrainingRequest(recipe=wanted, dataset=dataset)
    check_request(fine)
    located = locate(wanted.base_model)
    later = fine.model_copy(update={"parent": other})
    assert training_id(fine, located) != training_id(later, located)


@pytest.mark.parametrize(
    "names",
    [(CONFIG_FILE, "adapter_model.bin"), (CONFIG_FILE, WEIGHTS_FILE, "../escape"), (CONFIG_FILE, WEIGHTS_FILE)],
)
def test_a_pickle_in_place_of_safetensors_is_refused(tmp_path: Path, names: tuple[str, ...]):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            data = pickle.dumps({"weight": [1.0] * 100})
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    store = ArtifactStore(str(tmp_path / "store"))
    ref = store.put_bytes(packed.getvalue(), "adapter.tar")
    with pytest.raises(BaseModelUnusable, match="nothing is unpickled"):
        unpack(store, ref, tmp_path / "out", frozenset({CONFIG_FILE, WEIGHTS_FILE}))
    assert not (tmp_path / "escape").exists()
