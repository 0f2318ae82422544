"""The `jeeves` command.

Exit codes: 0 done · 1 failed · 2 wrong usage or recipe · 3 the gate refused · 4 a service is away · 5 a job failed ·
6 no sample question was answered with a citation · 130 interrupted.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jeeves_cli import curation, models
from jeeves_cli import run as run_command
from jeeves_cli.ask import ask as ask_gateway
from jeeves_cli.ask import read_batch, stream
from jeeves_cli.bundle import Bundle
from jeeves_cli.ci import ci_app
from jeeves_cli.client import ServiceClient, cancel_jobs_when_terminated
from jeeves_cli.collect import (
    DEFAULT_COLLECT,
    JOBS_DIR,
    AsJson,
    LicenceOption,
    Out,
    PairsOption,
    SourceOption,
    collect,
    collect_recipe_of,
    give,
)
from jeeves_cli.compare import compare
from jeeves_cli.diagnose import diagnose
from jeeves_cli.display import ConsoleDisplay, evaluation_table, make_display
from jeeves_cli.endpoints import DEFAULT_PORTS, data_dir
from jeeves_cli.exits import CommandError, Exit, Terminated
from jeeves_cli.keys import keys_app, switch_app
from jeeves_cli.lint import lint
from jeeves_cli.manifest_files import read_manifest
from jeeves_cli.models import DEFAULT_EVALUATE, DEFAULT_TRAIN
from jeeves_cli.pipeline import Pipeline, Recipes
from jeeves_cli.recipes import load_recipe
from jeeves_cli.retrain import retrain
from jeeves_cli.search import search
from jeeves_cli.versions import models as versions
from jeeves_shared.contracts.answers import Answer
from jeeves_shared.contracts.manifests import (
    CollectionManifest,
    DatasetManifest,
    IndexManifest,
)
from jeeves_shared.contracts.recipes import CurateRecipe, EvaluateRecipe, TrainRecipe

STARTER_QUESTION = "How do I keep a secret out of the console log?"

app = typer.Typer(
    name="jeeves", no_args_is_help=True, add_completion=False, help="Jeeves: an assistant that knows Jenkins."
)
app.add_typer(keys_app, name="keys")
app.add_typer(switch_app, name="switch")
app.add_typer(ci_app, name="ci")
app.command("lint")(lint)
app.command("retrain")(retrain)
app.command("search")(search)
curation.register(app)
models.register(app)
app.command("models")(versions)
app.command("diagnose")(diagnose)
app.command("compare")(compare)

CollectFile = Annotated[Path, typer.Option("--collect-recipe")]
CurateFile = Annotated[Path, typer.Option("--curate-recipe")]
TrainFile = Annotated[Path, typer.Option("--train-recipe")]
EvaluateFile = Annotated[Path, typer.Option("--evaluate-recipe")]

DEFAULT_CURATE = JOBS_DIR / "curate" / "default.yaml"


def run() -> None:
    """Entry point: every error becomes one message and an exit code."""
    cancel_jobs_when_terminated()
    try:
        code = app(standalone_mode=False)
    except CommandError as exc:
        print(f"jeeves: {exc.detail}", file=sys.stderr)
        sys.exit(exc.code)
    except Terminated:
        sys.exit(Exit.INTERRUPTED)
    except typer.Abort:
        sys.exit(Exit.FAILED)
    except typer.Exit as exc:
        sys.exit(exc.exit_code)
    except typer.TyperException as exc:
        print(f"jeeves: {exc.format_message()} `jeeves --help` shows what there is.", file=sys.stderr)
        sys.exit(Exit.USAGE)
    sys.exit(code or 0)


@app.command("up")
def up(
    gateway_port: Annotated[int, typer.Option(envvar="GATEWAY_PORT")] = DEFAULT_PORTS["gateway"],
    collector_port: Annotated[int, typer.Option(envvar="COLLECTOR_PORT")] = DEFAULT_PORTS["collector"],
    curator_port: Annotated[int, typer.Option(envvar="CURATOR_PORT")] = DEFAULT_PORTS["curator"],
    trainer_port: Annotated[int, typer.Option(envvar="TRAINER_PORT")] = DEFAULT_PORTS["trainer"],
) -> int:
    """Start the four services on this machine, supervised, until Ctrl-C."""
    bundle = _bundle(gateway_port, collector_port, curator_port, trainer_port)
    return run_command.stay_up(bundle, Console())


@app.command("run")
def run_all(
    source: SourceOption = "",
    pairs: PairsOption = "",
    licence: LicenceOption = "NOASSERTION",
    question: Annotated[str, typer.Option(help="Asked before and after.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Exit after the loop.")] = False,
    collect_recipe: CollectFile = DEFAULT_COLLECT,
    curate_recipe: CurateFile = DEFAULT_CURATE,
    train_recipe: TrainFile = DEFAULT_TRAIN,
    evaluate_recipe: EvaluateFile = DEFAULT_EVALUATE,
    gateway_port: Annotated[int, typer.Option(envvar="GATEWAY_PORT")] = DEFAULT_PORTS["gateway"],
    collector_port: Annotated[int, typer.Option(envvar="COLLECTOR_PORT")] = DEFAULT_PORTS["collector"],
    curator_port: Annotated[int, typer.Option(envvar="CURATOR_PORT")] = DEFAULT_PORTS["curator"],
    trainer_port: Annotated[int, typer.Option(envvar="TRAINER_PORT")] = DEFAULT_PORTS["trainer"],
) -> int:
    """Start the services, teach the model, promote it, and stay up (what `make run` does)."""
    recipes = Recipes(
        collect=collect_recipe_of(collect_recipe, source, pairs, licence),
        curate=load_recipe(CurateRecipe, curate_recipe),
        train=load_recipe(TrainRecipe, train_recipe),
        evaluate=load_recipe(EvaluateRecipe, evaluate_recipe),
    )
    bundle = _bundle(gateway_port, collector_port, curator_port, trainer_port)
    asked = question or ("" if source else STARTER_QUESTION)
    options = run_command.RunOptions(once=once, question=asked, strict=bool(question))
    return run_command.run(bundle, recipes, options, Console())


def _bundle(gateway: int, collector: int, curator: int, trainer: int) -> Bundle:
    ports = {"gateway": gateway, "collector": collector, "curator": curator, "trainer": trainer}
    return Bundle(data_dir(), ports)


@app.command("pipeline")
def pipeline(
    source: SourceOption = "",
    pairs: PairsOption = "",
    licence: LicenceOption = "NOASSERTION",
    collect_recipe: CollectFile = DEFAULT_COLLECT,
    curate_recipe: CurateFile = DEFAULT_CURATE,
    train_recipe: TrainFile = DEFAULT_TRAIN,
    evaluate_recipe: EvaluateFile = DEFAULT_EVALUATE,
    as_json: AsJson = False,
) -> int:
    """Run the whole loop on services that are up."""
    display = make_display(as_json)
    recipes = Recipes(
        collect=collect_recipe_of(collect_recipe, source, pairs, licence),
        curate=load_recipe(CurateRecipe, curate_recipe),
        train=load_recipe(TrainRecipe, train_recipe),
        evaluate=load_recipe(EvaluateRecipe, evaluate_recipe),
    )
    outcome = Pipeline(display).run(recipes, "jeeves pipeline")
    if as_json:
        print(outcome.report.model_dump_json(indent=2))
    elif isinstance(display, ConsoleDisplay):
        display.console.print(evaluation_table(outcome.report))
    return Exit.OK if outcome.serving is not None else Exit.GATE_REFUSED


app.command("collect")(collect)


@app.command("index")
def index(
    collection: Annotated[Path, typer.Option(help="Manifest of the collection.")],
    recipe: Annotated[Path, typer.Option("--recipe")] = DEFAULT_CURATE,
    serve: Annotated[bool, typer.Option("--serve", help="Let the gateway search in it at once.")] = False,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Build the search index of a collection."""
    steps = Pipeline(make_display(as_json))
    manifest = steps.build_index(load_recipe(CurateRecipe, recipe), read_manifest(CollectionManifest, collection))
    if serve:
        steps.serve_index(manifest)
    give(manifest, out, as_json)
    return Exit.OK


@app.command("curate")
def curate(
    collection: Annotated[Path, typer.Option(help="Manifest of the collection.")],
    index: Annotated[Path, typer.Option(help="Manifest of its index.")],
    recipe: Annotated[Path, typer.Option("--recipe")] = DEFAULT_CURATE,
    previous: Annotated[Path | None, typer.Option(help="Manifest of a data set to compare with on the card.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> int:
    """Make training and evaluation samples."""
    manifest = Pipeline(make_display(as_json)).curate(
        load_recipe(CurateRecipe, recipe),
        read_manifest(CollectionManifest, collection),
        read_manifest(IndexManifest, index),
        read_manifest(DatasetManifest, previous) if previous else None,
    )
    give(manifest, out, as_json)
    return Exit.OK


@app.command("ask")
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")] = "",
    batch: Annotated[Path | None, typer.Option(help='JSON Lines with "id" and "question"; one answer a line.')] = None,
    as_json: AsJson = False,
) -> int:
    """Ask one question, or a file of them, and show the sources."""
    if bool(question) == bool(batch):
        raise CommandError("Give either a question or --batch FILE.jsonl.", Exit.USAGE)
    gateway = ServiceClient("gateway")
    if batch is not None:
        for question_id, text in read_batch(batch):
            print(ask_gateway(gateway, text, question_id).model_dump_json(), flush=True)
        return Exit.OK
    answer = ask_gateway(gateway, question)
    if as_json:
        print(answer.model_dump_json(indent=2))
    else:
        print(answer.answer)
        _print_sources(answer)
    return Exit.OK


@app.command("chat")
def chat() -> int:
    """Talk with the assistant; an empty line or Ctrl-D ends."""
    gateway = ServiceClient("gateway")
    gateway.wait_ready(5.0)
    messages: list[dict[str, str]] = []
    while True:
        try:
            question = input("you> ").strip()
        except EOFError:
            question = ""
        if not question:
            return Exit.OK
        messages.append({"role": "user", "content": question})
        for piece in stream(gateway, messages):
            if isinstance(piece, Answer):
                print()
                _print_sources(piece)
                messages.append({"role": "assistant", "content": piece.answer})
            else:
                print(piece, end="", flush=True)


@app.command("status")
def status(as_json: AsJson = False) -> int:
    """Show which services answer and what is served."""
    return run_command.status(Console(), as_json)


@app.command("version")
def version(as_json: AsJson = False) -> int:
    """Show the version of this command."""
    from jeeves_shared import __version__  # noqa: PLC0415

    print(json.dumps({"version": __version__}) if as_json else f"jeeves {__version__}")
    return Exit.OK


def _print_sources(answer: Answer) -> None:
    for citation in answer.citations:
        place = citation.url or citation.source_path
        print(f"[{citation.number}] {citation.title} › {citation.section}  {place}")
    if answer.rung != "full":
        print(f"({answer.rung})")
