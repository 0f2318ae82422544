"""A tampered file of a training is refused with its reason when it is to be quantized, and no version is registered."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import pytest
from transformers import AutoTokenizer

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import TrainingManifest
from jeeves_shared.contracts.requests import QuantizationRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.errors import JeevesError
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.gguf_files import write_metadata
from jeeves_trainer.quantizations import quantize
from jeeves_trainer.registry import ModelRegistry
from jeeves_trainer.round_trip import Probe, probe_lines

TEXT = "<|im_start|>user\nHow do I use it?\n\n1. one<|im_end|>\n<|im_start|>assistant\n"
"""llama.cpp's default pre-tokenizer cuts it otherwise than this model's: two line breaks, a digit."""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def training(tiny_model: Path, tiny_gguf: Path, store: ArtifactStore, make_training) -> TrainingManifest:
    """A training whose files are what they say."""
    ids = AutoTokenizer.from_pretrained(tiny_model)(TEXT, add_special_tokens=False)["input_ids"]
    made: TrainingManifest = make_training(
        store.put_file(tiny_gguf),
        base_model="Tiny-3M-Instruct",
        adapter=None,
        template_sha256=read_gguf(tiny_gguf).template_sha256,
        probes=store.put_bytes(probe_lines([Probe(TEXT, tuple(ids), (2,))]), "probes.jsonl"),
    )
    return made


@dataclass(frozen=True)
class Job:
    """Quantizes trainings as the service's job does."""

    context: JobContext
    database: str

    def run(self, training: TrainingManifest) -> None:
        body = QuantizationRequest(training=training, quantizations=("Q8_0",))
        quantize(self.context, body.model_dump(mode="json"))

    def registered(self) -> int:
        return len(ModelRegistry(open_database(self.database)).models())


@pytest.fixture
def job(tmp_path: Path, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> Job:
    database = f"sqlite:///{tmp_path / 'state.sqlite'}"
    monkeypatch.setenv("JEEVES_JOB_DATABASE", database)
    jobs = JobStore(open_database(database))
    return Job(JobContext(jobs.submit("quantizations", {}, "always").job.id, tmp_path, store, jobs), database)


def other_template(source: Path, target: Path) -> None:
    write_metadata(source, target, {"tokenizer.chat_template": "{{ messages[0].content }}"})


def other_tokenizer(source: Path, target: Path) -> None:
    write_metadata(source, target, {"tokenizer.ggml.pre": "default"})


def other_architecture(source: Path, target: Path) -> None:
    """A whole file of another kind of model, with the same chat template."""
    writer = gguf.GGUFWriter(target, arch="qwen2")
    template = next(field for name, field in gguf.GGUFReader(source).fields.items() if name.endswith("chat_template"))
    writer.add_chat_template(str(template.contents()))
    writer.add_tensor("token_embd.weight", np.zeros((8, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def a_pickle(_: Path, target: Path) -> None:
    target.write_bytes(pickle.dumps({"weight": [1.0] * 1000}))


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (other_template, "template-mismatch"),
        (other_tokenizer, "tokenizer-mismatch"),
        (other_architecture, "architecture-mismatch"),
        (a_pickle, "gguf-unreadable"),
    ],
)
def test_a_changed_file_is_refused_with_its_reason(
    tamper: Callable[[Path, Path], None], reason: str, training: TrainingManifest, job: Job
):
    changed, store = job.context.work_dir / "changed.gguf", job.context.store
    tamper(store.path(training.merged_gguf), changed)
    # Put into the store with its own sha256: whoever changed the file also wrote the manifest.
    with pytest.raises(JeevesError) as caught:
        job.run(training.model_copy(update={"merged_gguf": store.put_file(changed)}))
    assert caught.value.code == reason
    assert job.registered() == 0
