"""The job `evaluations` with every suite, on a candidate that is worse than its base; and the report's forms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from jeeves_cli.recipes import load_recipe
from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.manifests import DatasetManifest, ModelFile, ModelManifest
from jeeves_shared.contracts.recipes import EvaluateRecipe
from jeeves_shared.contracts.requests import EvaluationRequest
from jeeves_shared.engine.gguf import read_gguf
from jeeves_shared.errors import RecipeError
from jeeves_shared.jenkinsfile import groovy_available
from jeeves_shared.jobs.store import JobStore, open_database
from jeeves_shared.jobs.worker import JobContext
from jeeves_trainer.conversion import convert_to_gguf
from jeeves_trainer.evaluations import champion_file, evaluate
from jeeves_trainer.report import junit_xml, markdown, page

FULL = Path(__file__).parents[3] / "training-jobs" / "evaluate" / "full.yaml"


def short_recipe() -> EvaluateRecipe:
    """The shipped recipe with all suites, each cut to a few seconds."""
    full = load_recipe(EvaluateRecipe, FULL)
    suites = []
    for suite in full.suites:
        update: dict[str, Any] = {"answer_tokens_max": 16} if hasattr(suite, "answer_tokens_max") else {}
        if suite.type == "exam":
            update["exam"] = suite.exam.model_copy(update={"questions": suite.exam.questions[:4]})
        elif suite.type == "memorization":
            update["samples_max"] = 2
        elif suite.type == "speed":
            update |= {"prompts": 2, "answer_tokens": 8}
        else:
            update["cases"] = suite.cases[:2]
        if suite.type == "jenkinsfiles":
            update |= {"cases": suite.cases[:1], "answer_tokens_max": 64}
        if suite.type != "jenkinsfiles" or groovy_available():
            suites.append(suite.model_copy(update=update))
    small = {"loss_samples_max": 10, "generation_samples_max": 10, "refusal_samples_max": 2, "answer_tokens_max": 16}
    return full.model_copy(update={**small, "bootstrap_resamples": 200, "slots": 2, "suites": tuple(suites)})


def work_folder(data_dir: Path, job_id: str) -> Path:
    """As the service lays it out: findings are two levels above."""
    folder = data_dir / "trainer" / "work" / job_id
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def shaken(tiny_model: Path, tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with its weights shaken: worse at everything."""
    folder = tmp_path_factory.mktemp("shaken")
    torch.manual_seed(3)
    model = LlamaForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    convert_to_gguf(folder, folder / "shaken-BF16.gguf", "shaken", lambda: None)
    return folder / "shaken-BF16.gguf"


@pytest.mark.slow
def test_a_worse_candidate_is_refused_with_every_reason(
    tiny_gguf: Path,
    shaken: Path,
    make_model: Callable[..., ModelManifest],
    make_dataset: Callable[..., DatasetManifest],
    tmp_path: Path,
):
    store = ArtifactStore(str(tmp_path / "store"))
    metadata = read_gguf(tiny_gguf)
    base, worse = (
        ModelFile(quantization="BF16", artifact=store.put_file(path, path.name)) for path in (tiny_gguf, shaken)
    )
    model = make_model().model_copy(
        update={
            "architecture": metadata.architecture,
            "template_sha256": metadata.template_sha256,
            "files": (worse,),
            "base_files": (base,),
        }
    )
    # A champion that was released in another quantization only: what serves is what must be stood up to.
    serving = ModelFile(quantization="Q8_0", artifact=base.artifact)
    request = EvaluationRequest(
        recipe=short_recipe(),
        model=model,
        quantization="BF16",
        dataset=make_dataset(store, 20, 12),
        champion=model.model_copy(update={"id": "model-0", "files": (serving,)}),
    ).model_dump(mode="json")
    jobs = JobStore(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"))
    job = jobs.submit("evaluations", request, "always").job
    context = JobContext(job.id, work_folder(tmp_path, job.id), store, jobs)
    report = evaluate(context, request)
    failed = {condition.name for condition in report.gate if not condition.passed}
    assert not report.passed
    assert {"answer_loss_improves", "closed_book_loss_not_worse", "champion_not_missed"} <= failed
    metrics = {metric.name: metric for metric in report.metrics}
    suites = {suite.name for suite in short_recipe().suites} - {"speed"}
    assert {"rouge_l", "similarity", "safety_injection", *suites} <= set(metrics)
    assert {f"{name}_not_worse" for name in suites} <= {condition.name for condition in report.gate}
    loss = metrics["answer_loss"]
    assert loss.champion is not None and loss.champion.value == loss.base.value < loss.candidate.value
    assert [speed.quantization for speed in report.speeds] == ["BF16"]
    assert {sample.suite for sample in report.samples} == {"", *suites} - {"general"}
    suite = ElementTree.fromstring(junit_xml(report))  # noqa: S314 - our own
    assert {case.get("name") for case in suite if case.find("failure") is not None} == failed
    for text in (markdown(report), page(report)):
        for part in ("refused", "Speed by quantization", "Answers side by side", "against champion", "perplexity"):
            assert part in text, part
    # Asked again, nothing is run again: the report is there.
    assert evaluate(context, request) == report
    # Another evaluation of the same files asks them nothing that they were asked before: only what is new.
    recipe = short_recipe()
    fewer = recipe.model_copy(update={"suites": tuple(one for one in recipe.suites if one.name == "safety")})
    request["recipe"] = fewer.model_dump(mode="json")
    other = jobs.submit("evaluations", request, "always").job
    part = evaluate(JobContext(other.id, work_folder(tmp_path, other.id), store, jobs), request)
    assert {event.type for event in jobs.events(other.id)} >= {"progress"}
    assert not [event for event in jobs.events(other.id) if "answer" in str(event.data.get("message", ""))]
    names = {metric.name for metric in part.metrics}
    assert "safety" in names and "memorization" not in names
    assert all(metric == metrics[metric.name] for metric in part.metrics)


def test_what_a_candidate_has_to_stand_up_to(make_model: Callable[..., ModelManifest]):
    model = make_model()
    small, large = (
        ModelFile(quantization=name, artifact=model.files[0].artifact.model_copy(update={"size_bytes": size}))
        for name, size in (("Q4_K_M", 100), ("Q8_0", 140))
    )
    both = model.model_copy(update={"files": (small, large)})
    assert champion_file(both, "Q4_K_M") == small
    assert champion_file(both, "BF16") == large
    with pytest.raises(RecipeError, match="no file"):
        champion_file(model.model_copy(update={"files": ()}), "Q8_0")
