"""The job `evaluations`: is this very file, run by the engine that serves, better than its base and the champion?"""

from datetime import UTC, datetime
from typing import Any

from jeeves_shared.contracts.base import content_hash, manifest_id
from jeeves_shared.contracts.manifests import (
    AnswerSample,
    ArtifactRef,
    EvaluationReport,
    MetricComparison,
    ModelFile,
    ModelManifest,
)
from jeeves_shared.contracts.prompts import PROMPT_SHA256
from jeeves_shared.contracts.requests import EvaluationRequest
from jeeves_shared.engine.binary import engine_version
from jeeves_shared.errors import RecipeError
from jeeves_shared.jobs.worker import JobContext
from jeeves_shared.measures import MEASURES_VERSION
from jeeves_shared.measures.bootstrap import compare
from jeeves_shared.measures.similarity import load_similarity
from jeeves_trainer.evaluation_set import EvaluationSet, choose_samples
from jeeves_trainer.gate import judge
from jeeves_trainer.gguf_files import check_architecture, check_template
from jeeves_trainer.judging import METRICS, FileResult, Judge, render_texts
from jeeves_trainer.samples import read_samples
from jeeves_trainer.suites.running import JudgedFile, SuiteFindings, SuiteRunner

SIDE_BY_SIDE_QUESTIONS = 8
SIDE_BY_SIDE_REFUSALS = 2
_START = 0.03
_SUITES_START = 0.5
"""Share of the work before further suites, where the recipe has any."""


def evaluate(context: JobContext, request: dict[str, Any]) -> EvaluationReport:
    """Judge a file, or return the report that is there already.

    The registry is not touched, whatever the verdict: `promote` reads the report.

    Args:
        context: of the job.
        request: an `EvaluationRequest`.

    Raises:
        RecipeError: model and data set do not fit each other.
        TemplateMismatch: a file has another chat template than its manifest says.
        EvaluationFailed, EngineError: a file cannot be judged.
        NotFound, ArtifactCorrupt: a file is gone or damaged.
        JobCancelled: the job was asked to stop.
    """
    body = EvaluationRequest.model_validate(request)
    champion = body.champion if body.champion and body.champion.id != body.model.id else None
    check_request(body, champion)
    candidate_file = file_of(body.model.files, body.quantization, body.model)
    identity = manifest_id(
        "evaluation",
        {
            "recipe": body.recipe.model_dump(mode="json"),
            "model": body.model.id,
            "file": candidate_file.sha256,
            "evaluation": body.dataset.evaluation.sha256,
            "champion": champion.id if champion else "",
            "engine": engine_version(),
            "measures": MEASURES_VERSION,
        },
    )
    known = context.store.find_manifest(EvaluationReport, "evaluation", identity)
    if known:
        context.log(f"{identity} is there already: nothing to evaluate")
        return known
    report = _evaluate(context, body, champion, identity)
    context.store.put_manifest(report)
    return report


def check_request(body: EvaluationRequest, champion: ModelManifest | None) -> None:
    """Check that all parts were made for one prompt.

    Raises:
        RecipeError: with every mistake.
    """
    parts = {
        f"data set {body.dataset.id}": body.dataset.prompt_sha256,
        f"model {body.model.id}": body.model.prompt_sha256,
    }
    if champion:
        parts[f"champion {champion.id}"] = champion.prompt_sha256
    mistakes = tuple(
        f"{name} was made for other prompt rules than this release"
        for name, sha in parts.items()
        if sha != PROMPT_SHA256
    )
    if mistakes:
        raise RecipeError(f"{len(mistakes)} mistake(s): {'; '.join(mistakes)}.", mistakes)


def file_of(files: tuple[ModelFile, ...], quantization: str, model: ModelManifest) -> ArtifactRef:
    """The file of a quantization.

    Raises:
        RecipeError: the model has none.
    """
    for file in files:
        if file.quantization == quantization:
            return file.artifact
    have = ", ".join(file.quantization for file in files) or "none"
    raise RecipeError(f"Model {model.id} has no {quantization} file (it has: {have}): quantize it first.")


def champion_file(champion: ModelManifest, quantization: str) -> ModelFile:
    """What a candidate has to stand up to: the champion's file of that quantization, else its largest.

    Raises:
        RecipeError: the champion has no file.
    """
    same = [file for file in champion.files if file.quantization == quantization]
    if not champion.files:
        raise RecipeError(f"Champion {champion.id} has no file.")
    return same[0] if same else max(champion.files, key=lambda file: file.artifact.size_bytes)


def _evaluate(
    context: JobContext, body: EvaluationRequest, champion: ModelManifest | None, identity: str
) -> EvaluationReport:
    recipe, model = body.recipe, body.model
    files = {
        "base": (file_of(model.base_files, body.quantization, model), model),
        "candidate": (file_of(model.files, body.quantization, model), model),
    }
    if champion:
        file = champion_file(champion, body.quantization)
        if file.quantization != body.quantization:
            context.log(f"the champion has no {body.quantization} file: compared with its {file.quantization}")
        files["champion"] = (file.artifact, champion)
    for ref, manifest in files.values():
        check_architecture(context.store.path(ref), manifest.architecture)
        check_template(context.store.path(ref), manifest.template_sha256)
    context.report(0.01, "rendering questions")
    chosen = choose_samples(read_samples(context.store.path(body.dataset.evaluation)), recipe)
    training = read_samples(context.store.path(body.dataset.train)) if recipe.suites else []
    suites = SuiteRunner(recipe, training, chosen.questions, context.work_dir)
    suites.check()
    candidate_path = context.store.path(files["candidate"][0])
    texts, fitting = render_texts(candidate_path, chosen.loss, context.work_dir, recipe)
    if not all(fitting):
        context.log(f"{fitting.count(False)} samples exceed {recipe.context_tokens} tokens: not scored")
    judge_ = Judge(recipe, chosen, texts, context.work_dir)
    results: dict[str, FileResult] = {}
    until = _SUITES_START if recipe.suites else 1.0
    for number, (role, (ref, _)) in enumerate(files.items()):

        def tell(share: float, message: str, role: str = role, number: int = number) -> None:
            context.report(_START + (until - _START) * (number + share) / len(files), f"{role}: {message}")

        results[role] = judge_.judge(context.store.path(ref), ref.sha256, tell)
    judged = {role: JudgedFile(context.store.path(ref), ref, body.quantization) for role, (ref, _) in files.items()}
    found = suites.run(
        judged,
        _all_quantizations(context, body),
        lambda share, message: context.report(until + (1 - until) * share, message),
    )
    return _report(body, identity, chosen, results, found)


def _all_quantizations(context: JobContext, body: EvaluationRequest) -> list[JudgedFile]:
    ordered = sorted(body.model.files, key=lambda file: file.quantization != body.quantization)
    return [JudgedFile(context.store.path(file.artifact), file.artifact, file.quantization) for file in ordered]


def _report(
    body: EvaluationRequest,
    identity: str,
    chosen: EvaluationSet,
    results: dict[str, FileResult],
    found: SuiteFindings,
) -> EvaluationReport:
    metrics = _comparisons(body, chosen, results)
    conditions = (*judge({metric.name: metric for metric in metrics}, body.recipe.gate), *found.conditions)
    return EvaluationReport(
        id=identity,
        model_id=body.model.id,
        file=file_of(body.model.files, body.quantization, body.model),
        quantization=body.quantization,
        engine=f"llama.cpp of llama-cpp-python {engine_version()}",
        recipe_sha256=content_hash(body.recipe),
        dataset_id=body.dataset.id,
        evaluation_sha256=body.dataset.evaluation.sha256,
        metrics=(*metrics, *found.metrics),
        gate=conditions,
        passed=all(condition.passed for condition in conditions),
        samples=(*_side_by_side(chosen, results["base"], results["candidate"]), *found.samples),
        speeds=found.speeds,
        created_at=datetime.now(UTC),
    )


def _comparisons(
    body: EvaluationRequest, chosen: EvaluationSet, results: dict[str, FileResult]
) -> tuple[MetricComparison, ...]:
    similarity = load_similarity()
    measured = {role: result.measured(chosen, similarity) for role, result in results.items()}
    champion = measured.get("champion")
    return tuple(
        compare(
            metric,
            measured["base"][metric.name],
            measured["candidate"][metric.name],
            champion[metric.name] if champion else None,
            resamples=body.recipe.bootstrap_resamples,
            seed=body.recipe.seed,
        )
        for metric in METRICS
        if metric.name in measured["base"]
    )


def _side_by_side(chosen: EvaluationSet, base: FileResult, candidate: FileResult) -> tuple[AnswerSample, ...]:
    # The first ones of a fixed order: neither the best nor the worst are picked.
    questions = zip(chosen.questions, base.answers, candidate.answers, strict=True)
    refusals = zip(chosen.refusals, base.refusals, candidate.refusals, strict=True)
    rows = [*list(questions)[:SIDE_BY_SIDE_QUESTIONS], *list(refusals)[:SIDE_BY_SIDE_REFUSALS]]
    return tuple(
        AnswerSample(
            question=sample.pair.question, reference=sample.pair.answer, base=base_answer, candidate=candidate_answer
        )
        for sample, base_answer, candidate_answer in rows
    )
