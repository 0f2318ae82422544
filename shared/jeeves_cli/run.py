"""`jeeves run`: the bundle and the loop in one command, with everything that a newcomer sees."""

import json
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from jeeves_cli.ask import ask
from jeeves_cli.bundle import Bundle
from jeeves_cli.client import ServiceClient
from jeeves_cli.display import ConsoleDisplay, evaluation_table
from jeeves_cli.endpoints import SERVICES
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.pipeline import Outcome, Pipeline, Recipes
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.answers import Answer
from jeeves_shared.contracts.jobs import JobProgress

SERVICES_UP_SECONDS = 120.0


@dataclass(frozen=True)
class RunOptions:
    """What `jeeves run` was asked for.

    Attributes:
        once: exit after the loop instead of staying up.
        question: asked before and after; empty: one of the data set's evaluation split.
        strict: this very question must be answered with a source, by the promoted file or by quotation.
    """

    once: bool
    question: str
    strict: bool = False


class Interrupted(Exception):
    """Someone pressed Ctrl-C or sent SIGTERM."""


def run(bundle: Bundle, recipes: Recipes, options: RunOptions, console: Console) -> Exit:
    """Start everything, teach the model, show what came out, and stay up.

    Returns:
        OK; INTERRUPTED if it was stopped before the loop was through; GATE_REFUSED if the candidate was not let
        through; NOT_ANSWERED if the promoted file did not answer the sample question with a citation.

    Raises:
        CommandError: a step could not be done.
    """
    display = ConsoleDisplay(console)
    interrupted = threading.Event()
    code = Exit.INTERRUPTED
    _on_stop_signals(interrupted)
    try:
        with display.stage("services") as stage:
            bundle.start()
            clients = [ServiceClient(name) for name in SERVICES]
            for number, client in enumerate(clients):
                stage.progress(JobProgress(fraction=number / len(clients), message=client.service))
                client.wait_ready(SERVICES_UP_SECONDS)
            stage.done(" · ".join(f"{client.service} {client.url.rsplit(':', 1)[1]}" for client in clients))
        pipeline = Pipeline(display)
        display.line(f"✓ chat is up    {pipeline.gateway.url}")
        code = _teach(pipeline, recipes, options, display, bundle)
        if not options.once:
            display.line(
                f"\nchat: {pipeline.gateway.url} · your own documents: make run SOURCE=<folder or git address> · "
                "Ctrl-C stops everything"
            )
            interrupted.wait()
        return code
    except Interrupted:
        display.line("stopping …")
        return code
    finally:
        _ignore_stop_signals()
        bundle.stop()


def _teach(pipeline: Pipeline, recipes: Recipes, options: RunOptions, display: ConsoleDisplay, bundle: Bundle) -> Exit:
    collection = pipeline.collect(recipes.collect)
    index = pipeline.build_index(recipes.curate, collection)
    pipeline.serve_index(index)
    dataset = pipeline.curate(recipes.curate, collection, index)
    question = options.question or dataset.sample_question
    before = _before(pipeline, question, dataset.id, bundle.data_dir)
    training = pipeline.train(recipes.train, dataset)
    model = pipeline.quantize(training, recipes.train.quantizations)
    report = pipeline.evaluate(recipes.evaluate, model, recipes.train.quantizations[0], dataset)
    serving, already = pipeline.promote(model, report, "jeeves run") if report.passed else (None, False)
    outcome = Outcome(collection, index, dataset, training, model, report, serving, already)
    _summary(outcome, display)
    if serving is None:
        return Exit.GATE_REFUSED
    after = ask(pipeline.gateway, question)
    _before_and_after(question, before, after, display)
    enough = bool(after.citations) or not options.strict
    answered = _cited_by_model(after) or (enough and _another_is_answered(pipeline, outcome, display))
    restarts = {name: number for name, number in bundle.restarts().items() if number}
    if restarts:
        display.line("restarted on the way: " + ", ".join(f"{name} {number}×" for name, number in restarts.items()))
    return Exit.OK if answered else Exit.NOT_ANSWERED


def _cited_by_model(answer: Answer) -> bool:
    return bool(answer.citations) and not answer.refused and answer.rung == "full"


def _another_is_answered(pipeline: Pipeline, outcome: Outcome, display: ConsoleDisplay) -> bool:
    """Whether the promoted file answers one of the held-out questions of the report with a citation.

    One question alone says more about a small model's luck than about the file.
    """
    display.line("  (the sources are quoted here: the model's own answer was not supported by them)")
    for sample in outcome.report.samples:
        after = ask(pipeline.gateway, sample.question)
        if _cited_by_model(after):
            _before_and_after(sample.question, None, after, display)
            return True
    display.line("The promoted model answered none of the sample questions with a citation.")
    return False


def _before(pipeline: Pipeline, question: str, dataset_id: str, data_dir: Path) -> Answer | None:
    """What the untuned model answers; kept, so that a later run can still show it."""
    kept = data_dir / "run" / f"before-{dataset_id}.json"
    if kept.is_file():
        answer = Answer.model_validate_json(kept.read_bytes())
        if answer.question == question:
            return answer
    if pipeline.champion() is not None:
        return None
    answer = ask(pipeline.gateway, question)
    write_atomic(kept, answer.model_dump_json().encode("utf-8"))
    return answer


def _summary(outcome: Outcome, display: ConsoleDisplay) -> None:
    display.line("")
    display.console.print(evaluation_table(outcome.report))
    passed = sum(condition.passed for condition in outcome.report.gate)
    verdict = f"gate: {'passed' if outcome.report.passed else 'refused'}, {passed} of {len(outcome.report.gate)}"
    if outcome.serving is None:
        display.line(f"{verdict}; the old model goes on serving")
        for condition in outcome.report.gate:
            if not condition.passed:
                display.line(f"  ✗ {condition.name}: {condition.reason}")
        return
    file = next(file for file in outcome.model.files if file.quantization == outcome.report.quantization)
    display.line(
        f"{verdict} → champion is {outcome.model.name} v{outcome.model.version} "
        f"({file.artifact.name}, {file.artifact.size_bytes / 1e6:.0f} MB, sha256 {file.artifact.sha256[:12]}…)"
    )
    display.line(
        f"{outcome.collection.documents} documents · {outcome.index.sections} sections · "
        f"{outcome.dataset.pairs_kept} pairs · training loss {outcome.training.train_loss:.2f} · held-out "
        f"{outcome.training.eval_loss_before:.2f} → {outcome.training.eval_loss:.2f}"
    )


def _before_and_after(question: str, before: Answer | None, after: Answer, display: ConsoleDisplay) -> None:
    display.line(f"\n  {question}")
    if before is not None:
        display.line(f"  before  {_indented(before.answer)}")
    display.line(f"  after   {_indented(after.answer)}")
    for citation in after.citations:
        place = citation.url or citation.source_path
        display.line(f"          [{citation.number}] {citation.title} › {citation.section}  {place}")


def _indented(text: str) -> str:
    return text.strip().replace("\n", "\n          ")


def _on_stop_signals(interrupted: threading.Event) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        raise Interrupted

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _ignore_stop_signals() -> None:
    # A second Ctrl-C must not leave processes behind: stopping is bounded anyway.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def stay_up(bundle: Bundle, console: Console) -> Exit:
    """`jeeves up`: the services alone, until Ctrl-C.

    Raises:
        CommandError: a service did not come up.
    """
    display = ConsoleDisplay(console)
    interrupted = threading.Event()
    _on_stop_signals(interrupted)
    try:
        bundle.start()
        for name in SERVICES:
            client = ServiceClient(name)
            client.wait_ready(SERVICES_UP_SECONDS)
            display.line(f"✓ {name:<10} {client.url}")
        display.line(f"logs: {bundle.data_dir / 'logs'} · Ctrl-C stops everything")
        interrupted.wait()
    except Interrupted:
        display.line("stopping …")
    finally:
        _ignore_stop_signals()
        bundle.stop()
    return Exit.OK


def status(console: Console, as_json: bool) -> Exit:
    """Which services answer, and what the gateway serves.

    Raises:
        CommandError: a service refused.
    """
    table: dict[str, object] = {}
    for name in SERVICES:
        client = ServiceClient(name)
        try:
            client.wait_ready(2.0)
            table[name] = {"url": client.url, "up": True}
        except CommandError:
            table[name] = {"url": client.url, "up": False}
    gateway = ServiceClient("gateway")
    entry = table["gateway"]
    if isinstance(entry, dict) and entry["up"]:
        entry["status"] = gateway.request("GET", "/v1/admin/status")
    if as_json:
        print(json.dumps(table))
    else:
        console.print_json(json.dumps(table))
    return Exit.OK if all(isinstance(row, dict) and row["up"] for row in table.values()) else Exit.UNREACHABLE
