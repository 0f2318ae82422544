"""Commands of the model's life: train, quantize, evaluate, exam, promote, rollback."""

from pathlib import Path
from typing import Annotated

import typer

from jeeves_cli.collect import JOBS_DIR, AsJson, Out, give
from jeeves_cli.display import ConsoleDisplay, evaluation_table, make_display
from jeeves_cli.exams import read_exam, sit_exam
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.launchers import Launcher, launch_file, write_launch_file
from jeeves_cli.manifest_files import read_manifest
from jeeves_cli.pipeline import Pipeline
from jeeves_cli.plans import plan_training
from jeeves_cli.recipes import load_recipe
from jeeves_cli.suite_files import only_suites
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_shared.contracts.recipes import EvaluateRecipe, TrainRecipe
from jeeves_shared.contracts.requests import TrainingRequest

DEFAULT_TRAIN = JOBS_DIR / "train" / "smollm2-135m-cpu.yaml"
DEFAULT_EXAM = JOBS_DIR / "evaluate" / "exams" / "jenkins-cicd-en-test.csv"
DEFAULT_EVALUATE = JOBS_DIR / "evaluate" / "default.yaml"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (train, quantize, evaluate, exam, promote, rollback):
        app.command(command.__name__)(command)


def train(
    dataset: Annotated[Path, typer.Option(help="Manifest of the data set.")],
    recipe: Annotated[Path, typer.Option("--recipe")] = DEFAULT_TRAIN,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and estimate only; exit 2 if it cannot run.")
    ] = False,
    parent: Annotated[
        Path | None, typer.Option(help="Manifest of the training to go on from: the stage before in a chain.")
    ] = None,
    launcher: Annotated[
        Launcher, typer.Option(help="Elsewhere than in the trainer service: write what runs it there.")
    ] = Launcher.service,
    store: Annotated[str, typer.Option(envvar="JEEVES_STORE_URL", help="Artifact store as seen from there.")] = "",
    image: Annotated[str, typer.Option(help="Of the trainer, for Kubernetes.")] = "jeeves-trainer:0.1.0",
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Tune the base model, or the outcome of an earlier training, and merge the adapter."""
    given, rows = load_recipe(TrainRecipe, recipe), read_manifest(DatasetManifest, dataset)
    before = read_manifest(TrainingManifest, parent) if parent else None
    if launcher is not Launcher.service:
        request = TrainingRequest(recipe=given, dataset=rows, parent=before)
        write_launch_file(launch_file(launcher, request, store, image), out)
        return Exit.OK
    if dry_run:
        return plan_training(given, rows, as_json, before)
    manifest = Pipeline(make_display(as_json)).train(given, rows, before)
    give(manifest, out, as_json)
    return Exit.OK


def quantize(
    training: Annotated[Path, typer.Option(help="Manifest of the training.")],
    quantization: Annotated[list[str] | None, typer.Option("--type", help="llama.cpp's name, such as Q8_0.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Quantize the tuned model to GGUF files and register it as candidate."""
    manifest = Pipeline(make_display(as_json)).quantize(
        read_manifest(TrainingManifest, training), tuple(quantization or ["Q8_0"])
    )
    give(manifest, out, as_json)
    return Exit.OK


def evaluate(
    model: Annotated[Path | None, typer.Option(help="Manifest of the model.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Manifest of the data set.")] = None,
    recipe: Annotated[Path, typer.Option("--recipe")] = DEFAULT_EVALUATE,
    quantization: Annotated[str, typer.Option("--type")] = "Q8_0",
    only: Annotated[
        str, typer.Option("--suites", help="Only these suites of the recipe, by name, with commas between.")
    ] = "",
    suite: Annotated[
        list[Path] | None, typer.Option("--suite", help="Instead: your own cases (JSONL), put to the running gateway.")
    ] = None,
    base: Annotated[Path | None, typer.Option("--base", help="Folder of the suite's logs.")] = None,
    at_least: Annotated[
        list[str] | None, typer.Option("--at-least", help="KIND.METRIC=SHARE; exit 3 if the suite stays below.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Cases of a suite at the same time.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Ask only the cases that the suite's report at --out has no answer to.")
    ] = False,
    judge: Annotated[str, typer.Option(help="OpenAI-compatible address of a judge model, with --judge-labels.")] = "",
    judge_model: Annotated[str, typer.Option(help="Its name there.")] = "judge",
    judge_labels: Annotated[Path | None, typer.Option(help="JSONL: question, reference, answer, right.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Compare base, champion and candidate on the quantized file; exit 3 if the gate refuses. Or run a suite."""
    if suite:
        from jeeves_cli.suites.command import JudgeOptions, evaluate_suites  # noqa: PLC0415 - numpy, here only

        if bool(judge) != (judge_labels is not None):
            raise CommandError("--judge and --judge-labels belong together: a judge is calibrated first.", Exit.USAGE)
        return evaluate_suites(
            suite,
            base=base,
            at_least=at_least or (),
            out=out,
            as_json=as_json,
            parallel=parallel,
            resume=resume,
            judge=JudgeOptions(judge, judge_model, judge_labels) if judge_labels else None,
        )
    if model is None or dataset is None:
        raise CommandError("Give --model and --dataset, or --suite FILE.jsonl.", Exit.USAGE)
    display = make_display(as_json)
    report = Pipeline(display).evaluate(
        only_suites(load_recipe(EvaluateRecipe, recipe), only),
        read_manifest(ModelManifest, model),
        quantization,
        read_manifest(DatasetManifest, dataset),
    )
    give(report, out, as_json)
    if isinstance(display, ConsoleDisplay):
        display.console.print(evaluation_table(report))
        for condition in report.gate:
            display.line(f"  {'✓' if condition.passed else '✗'} {condition.name}: {condition.reason}")
    return Exit.OK if report.passed else Exit.GATE_REFUSED


def exam(
    model: Annotated[Path, typer.Option(help="Manifest of the model.")],
    file: Annotated[Path, typer.Option("--exam", help="CSV: id,question,A,B,C,D,answer,explanation.")] = DEFAULT_EXAM,
    examples: Annotated[Path | None, typer.Option(help="CSV of worked examples; else …-dev.csv beside it.")] = None,
    shots: Annotated[list[int] | None, typer.Option(help="Examples before each question.")] = None,
    language: Annotated[str, typer.Option(help="en or zh: words around the question.")] = "en",
    quantization: Annotated[str, typer.Option("--type")] = "Q8_0",
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Put a multiple-choice exam to base and candidate, by log-likelihood on the quantized file."""
    given = read_exam(file, examples, language)
    wanted = tuple(shots) if shots else (0, 5)
    report = sit_exam(given, read_manifest(ModelManifest, model), quantization, wanted, as_json)
    give(report, out, as_json)
    return Exit.OK


def promote(
    model: Annotated[Path, typer.Option(help="Manifest of the model.")],
    report: Annotated[Path, typer.Option(help="Its evaluation report, passed.")],
    reason: Annotated[str, typer.Option(help="For the audit trail.")] = "jeeves promote",
    as_json: AsJson = False,
) -> int:
    """Shift the gateway to a model that passed its gate, and make it the champion."""
    evaluation = read_manifest(EvaluationReport, report)
    if not evaluation.passed:
        raise CommandError("The gate refused this model: it is not promoted.", Exit.GATE_REFUSED)
    served, _ = Pipeline(make_display(as_json)).promote(read_manifest(ModelManifest, model), evaluation, reason)
    give(served, None, as_json)
    return Exit.OK


def rollback(as_json: AsJson = False) -> int:
    """Go back to the previous champion."""
    served = Pipeline(make_display(as_json)).rollback()
    give(served, None, as_json)
    if not as_json:
        print(f"serving {served.name} v{served.version} ({served.quantization})")
    return Exit.OK
