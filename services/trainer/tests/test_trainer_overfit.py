"""A run made to overfit, on the real small model: the best checkpoint was chosen, the gate refuses the last one.

Both checkpoints go the whole way of a training: merged, converted, quantized, judged by the engine that serves. `-rP`
prints the table.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.documents import TrainingSample
from jeeves_shared.contracts.manifests import (
    ArtifactRef,
    DatasetManifest,
    EvaluationReport,
    ModelManifest,
    TrainingManifest,
)
from jeeves_shared.contracts.recipes import EvaluateRecipe, GateSettings, TrainRecipe
from jeeves_shared.contracts.requests import EvaluationRequest, QuantizationRequest, TrainingRequest
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.base_models import locate
from jeeves_trainer.checkpoints import CHECKPOINT_PREFIX
from jeeves_trainer.evaluations import evaluate
from jeeves_trainer.quantizations import quantize
from jeeves_trainer.training_run import Outcome, TrainingRun
from jeeves_trainer.trainings import training_id

# peft 0.21 asks transformers 5.23 by the property's old name.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
]

DEFAULT = Path(__file__).parents[3] / "training-jobs" / "train" / "smollm2-135m-cpu.yaml"
GREEDY = {"epochs": 20, "evaluations_per_run": 8, "schedule": "constant", "evaluation_samples_max": 8}
TRAINING_SAMPLES, HELD_OUT_SAMPLES = 8, 12
EVALUATION = EvaluateRecipe(
    name="overfit",
    loss_samples_max=HELD_OUT_SAMPLES,
    generation_samples_max=10,
    refusal_samples_max=2,
    answer_tokens_max=16,
    slots=2,
    # Ten short answers are too few for an interval: what is judged here are the losses.
    gate=GateSettings(token_f1_improvement_min=-1.0, key_facts_regression_max=1.0, refusal_regression_max=1.0),
)


@dataclass(frozen=True)
class Installation:
    """A database, a store, and the contexts of jobs."""

    folder: Path
    jobs: JobStore
    store: ArtifactStore

    def context(self, kind: str, name: str) -> JobContext:
        folder = self.folder / "trainer" / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        job = self.jobs.submit(kind, {"name": name}, "always").job
        return JobContext(job.id, folder, self.store, self.jobs)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    database = f"sqlite:///{tmp_path / 'state.sqlite'}"
    monkeypatch.setenv("JEEVES_JOB_DATABASE", database)
    return Installation(tmp_path, JobStore(open_database(database)), ArtifactStore(str(tmp_path / "store")))


def learned_by_heart(made: DatasetManifest, store: ArtifactStore, samples: list[TrainingSample]) -> DatasetManifest:
    """A data set whose passages do not hold the answers: what is learned of them is learned by heart."""
    pairs = [sample.pair for sample in samples if sample.answerable and not sample.passages and sample.pair.key_terms]
    passage = next(sample.passages[0] for sample in samples if not sample.answerable)
    rows = [TrainingSample(pair=pair, passages=(passage,), answerable=True) for pair in pairs]
    refusals = [sample for sample in samples if not sample.answerable][:2]

    def lines(name: str, chosen: list[TrainingSample]) -> ArtifactRef:
        return store.put_bytes("".join(f"{row.model_dump_json()}\n" for row in chosen).encode(), name)

    train, held_out = rows[:TRAINING_SAMPLES], rows[TRAINING_SAMPLES : TRAINING_SAMPLES + HELD_OUT_SAMPLES]
    return made.model_copy(
        update={
            "id": "dataset-by-heart",
            "train": lines("train.jsonl", train),
            "evaluation": lines("evaluation.jsonl", [*held_out, *refusals]),
            "train_samples": len(train),
            "evaluation_samples": len(held_out) + len(refusals),
        }
    )


def of_last_checkpoint(done: Outcome) -> Outcome:
    """What the run would have brought if its last checkpoint counted."""
    held_out = {int(point["step"]): point["eval_loss"] for point in done.tuned.curve if "eval_loss" in point}
    last = done.tuned.steps
    folder = done.tuned.folder.with_name(f"{CHECKPOINT_PREFIX}{last}")
    return replace(done, tuned=replace(done.tuned, folder=folder, best_step=last, eval_loss=held_out[last]))


def verdict(
    installation: Installation, training: TrainingManifest, dataset: DatasetManifest, champion: ModelManifest | None
) -> tuple[ModelManifest, EvaluationReport]:
    """Quantize and judge a training."""
    body = QuantizationRequest(training=training, quantizations=("Q8_0",))
    model = quantize(installation.context("quantizations", f"quantize-{training.id}"), body.model_dump(mode="json"))
    asked = EvaluationRequest(recipe=EVALUATION, model=model, quantization="Q8_0", dataset=dataset, champion=champion)
    context = installation.context("evaluations", f"evaluate-{training.id}")
    return model, evaluate(context, asked.model_dump(mode="json"))


def show(name: str, training: TrainingManifest, report: EvaluationReport) -> None:
    lines = [f"\n{name}: step {training.best_step} of {training.steps}, held-out loss {training.eval_loss:.3f}"]
    lines += [
        f"  {metric.name:<24} base {metric.base.value:.3f}  candidate {metric.candidate.value:.3f}  "
        f"difference {metric.difference.value:+.3f} ({metric.difference.low:+.3f} … {metric.difference.high:+.3f})"
        for metric in report.metrics
        if metric.unit == "nats/token"
    ]
    lines += [f"  {'✓' if one.passed else '✗'} {one.name}: {one.reason}" for one in report.gate]
    sys.stdout.write("\n".join([*lines, f"  gate: {'passed' if report.passed else 'refused'}\n"]))


def test_the_best_checkpoint_is_chosen_and_the_gate_refuses_the_last(
    installation: Installation, make_dataset: Callable[..., DatasetManifest], samples: list[TrainingSample]
):
    dataset = learned_by_heart(make_dataset(installation.store, 4, 2), installation.store, samples)
    recipe = TrainRecipe.model_validate({**yaml.safe_load(DEFAULT.read_text("utf-8")), **GREEDY})
    body = TrainingRequest(recipe=recipe, dataset=dataset)
    located = locate(recipe.base_model)
    identity = training_id(body, located)
    run = TrainingRun(installation.context("trainings", "train"), body, located, identity)
    done = run.tune()
    best = run.finish(done)
    last = replace(run, identity=f"{identity}-last").finish(of_last_checkpoint(done))

    held_out = {int(point["step"]): point["eval_loss"] for point in done.tuned.curve if "eval_loss" in point}
    losses = {int(point["step"]): point["loss"] for point in done.tuned.curve if "loss" in point}
    rows = (f"{at} {losses.get(at, float('nan')):.3f} / {loss:.3f}" for at, loss in held_out.items())
    sys.stdout.write("step, loss / held-out loss: " + " · ".join(rows))
    assert best.best_step == min((step for step in held_out if step), key=lambda step: (held_out[step], step))
    assert best.best_step < last.best_step == best.steps
    assert losses[best.steps] < 0.1 < losses[1], "the samples are known by heart at the end"

    champion, good = verdict(installation, best, dataset, None)
    show("best checkpoint", best, good)
    _, bad = verdict(installation, last, dataset, champion)
    show("last checkpoint", last, bad)
    assert good.passed, [one.reason for one in good.gate if not one.passed]
    refused = {condition.name for condition in bad.gate if not condition.passed}
    assert {"answer_loss_improves", "champion_not_missed"} <= refused
