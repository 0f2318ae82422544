"""The loop as a client of the services: collect → index → curate → train → quantize → evaluate → promote.

Each step takes and gives manifests and nothing else, so that the command line, `jeeves pipeline` and the Jenkinsfile
run the very same code. A step whose result exists is answered by its service at once.
"""

from dataclasses import dataclass

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import Display, Stage, duration, size
from jeeves_cli.exits import CommandError
from jeeves_shared.contracts.base import content_hash
from jeeves_shared.contracts.jobs import Job
from jeeves_shared.contracts.manifests import (
    CollectionManifest,
    DatasetManifest,
    EvaluationReport,
    IndexManifest,
    ModelFile,
    ModelManifest,
    TrainingManifest,
)
from jeeves_shared.contracts.recipes import CollectRecipe, CurateRecipe, EvaluateRecipe, TrainRecipe
from jeeves_shared.contracts.requests import (
    CollectionRequest,
    DatasetRequest,
    EvaluationRequest,
    IndexRequest,
    PromotionRequest,
    QuantizationRequest,
    RegisteredModel,
    ServedModel,
    ServeIndexRequest,
    ServeModelRequest,
    TrainingRequest,
)

SWAP_TIMEOUT_SECONDS = 180.0
"""Longest wait for the gateway to load, verify and shift to a model."""


@dataclass(frozen=True)
class Recipes:
    """The recipe of each step."""

    collect: CollectRecipe
    curate: CurateRecipe
    train: TrainRecipe
    evaluate: EvaluateRecipe


@dataclass(frozen=True)
class Outcome:
    """What a run of the loop made.

    Attributes:
        serving: what the gateway serves afterwards; None if the gate refused.
        already_champion: nothing had to be promoted: the model was the champion before.
    """

    collection: CollectionManifest
    index: IndexManifest
    dataset: DatasetManifest
    training: TrainingManifest
    model: ModelManifest
    report: EvaluationReport
    serving: ServedModel | None
    already_champion: bool


class Pipeline:
    """The steps of the loop.

    Args:
        display: where progress is shown.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self.collector = ServiceClient("collector")
        self.curator = ServiceClient("curator")
        self.trainer = ServiceClient("trainer")
        self.gateway = ServiceClient("gateway")

    def collect(self, recipe: CollectRecipe) -> CollectionManifest:
        """Documents and pairs of the recipe's sources.

        Raises:
            CommandError: as every step: the service is away, the request was refused, or the job failed.
        """
        with self._display.stage("collect") as stage:
            manifest = self.collector.run_job(
                "collections", CollectionRequest(recipe=recipe), CollectionManifest, stage.progress
            )
            dropped = _drops(manifest.drops)
            stage.done(
                f"{manifest.documents} documents, {manifest.code_blocks} code blocks, {manifest.pairs} pairs{dropped}"
            )
        return manifest

    def build_index(self, recipe: CurateRecipe, collection: CollectionManifest) -> IndexManifest:
        """The search index of a collection."""
        with self._display.stage("index") as stage:
            manifest = self.curator.run_job(
                "indexes", IndexRequest(recipe=recipe, collection=collection), IndexManifest, stage.progress
            )
            stage.done(f"{manifest.sections} sections of {manifest.documents} documents indexed")
        return manifest

    def serve_index(self, index: IndexManifest) -> None:
        """Let the gateway search in an index."""
        self.gateway.request("PUT", "/v1/admin/index", ServeIndexRequest(index=index), timeout_seconds=60.0)

    def curate(
        self,
        recipe: CurateRecipe,
        collection: CollectionManifest,
        index: IndexManifest,
        previous: DatasetManifest | None = None,
    ) -> DatasetManifest:
        """Training and evaluation samples; the card compares with the previous ones."""
        with self._display.stage("curate") as stage:
            manifest = self.curator.run_job(
                "datasets",
                DatasetRequest(recipe=recipe, collection=collection, index=index, previous=previous),
                DatasetManifest,
                stage.progress,
            )
            stage.done(
                f"{manifest.pairs_kept} pairs kept{_drops(manifest.drops)} · "
                f"{manifest.train_samples} training, {manifest.evaluation_samples} evaluation samples"
            )
        return manifest

    def train(
        self, recipe: TrainRecipe, dataset: DatasetManifest, parent: TrainingManifest | None = None
    ) -> TrainingManifest:
        """A tuned model, merged and converted."""
        with self._display.stage("train") as stage:
            manifest = self.trainer.run_job(
                "trainings",
                TrainingRequest(recipe=recipe, dataset=dataset, parent=parent),
                TrainingManifest,
                stage.progress,
            )
            stage.done(
                f"{manifest.steps} steps · loss {manifest.train_loss:.2f} · held-out {manifest.eval_loss_before:.2f} → "
                f"{manifest.eval_loss:.2f} (best at step {manifest.best_step}) · {manifest.tokens_per_second:.0f} tok/s"
            )
        return manifest

    def quantize(self, training: TrainingManifest, quantizations: tuple[str, ...]) -> ModelManifest:
        """GGUF files of a tuned model, registered as candidate."""
        with self._display.stage("quantize") as stage:
            manifest = self.trainer.run_job(
                "quantizations",
                QuantizationRequest(training=training, quantizations=quantizations),
                ModelManifest,
                stage.progress,
            )
            stage.done(" · ".join(f"{file.artifact.name} {size(file.artifact.size_bytes)}" for file in manifest.files))
        return manifest

    def evaluate(
        self, recipe: EvaluateRecipe, model: ModelManifest, quantization: str, dataset: DatasetManifest
    ) -> EvaluationReport:
        """Base, champion and candidate on the same samples, and the verdict of the gate."""
        with self._display.stage("evaluate") as stage:
            champion = self.champion()
            if champion is not None and champion.id == model.id:
                # Judging the champion against itself says nothing: what counts is the report that promoted it, if it
                # answers what is asked now; else it is compared with its base alone.
                if (report := self._passed_report(recipe, model, quantization, dataset)) is not None:
                    stage.done(f"{model.name} v{model.version} is the champion already")
                    return report
                champion = None
            report = self.trainer.run_job(
                "evaluations",
                EvaluationRequest(
                    recipe=recipe, model=model, quantization=quantization, dataset=dataset, champion=champion
                ),
                EvaluationReport,
                stage.progress,
            )
            stage.done(_gate_line(report))
        return report

    def promote(self, model: ModelManifest, report: EvaluationReport, reason: str) -> tuple[ServedModel, bool]:
        """Let the gateway shift to a model, then make it the champion.

        Returns:
            What is served, and whether it was so before.

        Raises:
            CommandError: the report did not pass, or the gateway refused the file; the old model goes on serving.
        """
        if not report.passed:
            raise CommandError(f"{model.name} v{model.version} did not pass its gate and is not promoted.")
        file = model_file(model, report.quantization)
        champion = self.champion()
        with self._display.stage("promote") as stage:
            served = ServedModel.model_validate(
                self.gateway.request(
                    "PUT",
                    "/v1/admin/models/champion",
                    ServeModelRequest(model=model, quantization=report.quantization),
                    timeout_seconds=SWAP_TIMEOUT_SECONDS,
                )
            )
            already = champion is not None and champion.id == model.id
            if not already:
                self.trainer.request(
                    "POST",
                    f"/v1/models/{model.id}/promote",
                    PromotionRequest(evaluation_id=report.id, reason=reason),
                )
            stage.done(
                f"champion is {model.name} v{model.version} ({report.quantization}, {size(file.artifact.size_bytes)}, "
                f"sha256 {file.artifact.sha256[:8]}…){', as before' if already else ''}"
            )
        return served, already

    def rollback(self) -> ServedModel:
        """Back to the previous champion, in the gateway and in the registry.

        Raises:
            CommandError: there is no previous one.
        """
        if self._aliased("previous") is None:
            raise CommandError("There is no previous champion to go back to.")
        served = ServedModel.model_validate(
            self.gateway.request("POST", "/v1/admin/rollback", timeout_seconds=SWAP_TIMEOUT_SECONDS)
        )
        self.trainer.request("POST", "/v1/models/rollback")
        return served

    def run(self, recipes: Recipes, reason: str) -> Outcome:
        """The whole loop.

        Raises:
            CommandError: a step could not be done. A gate that says no is not an error: see `Outcome.serving`.
        """
        collection = self.collect(recipes.collect)
        index = self.build_index(recipes.curate, collection)
        self.serve_index(index)
        dataset = self.curate(recipes.curate, collection, index)
        training = self.train(recipes.train, dataset)
        model = self.quantize(training, recipes.train.quantizations)
        report = self.evaluate(recipes.evaluate, model, recipes.train.quantizations[0], dataset)
        serving, already = self.promote(model, report, reason) if report.passed else (None, False)
        return Outcome(collection, index, dataset, training, model, report, serving, already)

    def champion(self) -> ModelManifest | None:
        """The registry's champion, if there is one."""
        return self._aliased("champion")

    def _aliased(self, alias: str) -> ModelManifest | None:
        models = [RegisteredModel.model_validate(item) for item in self.trainer.request("GET", "/v1/models")]
        return next((model.manifest for model in models if alias in model.aliases), None)

    def _passed_report(
        self, recipe: EvaluateRecipe, model: ModelManifest, quantization: str, dataset: DatasetManifest
    ) -> EvaluationReport | None:
        asked = (model.id, quantization, dataset.id, content_hash(recipe))
        jobs = [Job.model_validate(item) for item in self.trainer.request("GET", "/v1/evaluations")]
        reports = [EvaluationReport.model_validate(job.result) for job in jobs if job.result is not None]
        return next(
            (
                report
                for report in reports
                if report.passed
                and (report.model_id, report.quantization, report.dataset_id, report.recipe_sha256) == asked
            ),
            None,
        )


def model_file(model: ModelManifest, quantization: str) -> ModelFile:
    """The file of a quantization type.

    Raises:
        CommandError: the model has none.
    """
    for file in model.files:
        if file.quantization == quantization:
            return file
    have = ", ".join(file.quantization for file in model.files)
    raise CommandError(f"{model.name} v{model.version} has no {quantization}; it has {have}.")


def _drops(drops: dict[str, int]) -> str:
    if not drops:
        return ""
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(drops.items(), key=lambda item: -item[1]))
    return f", {sum(drops.values())} dropped ({reasons})"


def _gate_line(report: EvaluationReport) -> str:
    passed = sum(condition.passed for condition in report.gate)
    return f"gate {'passed' if report.passed else 'refused'}, {passed} of {len(report.gate)}"


__all__ = ["Outcome", "Pipeline", "Recipes", "Stage", "duration", "model_file"]
