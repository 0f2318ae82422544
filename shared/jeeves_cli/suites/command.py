"""`jeeves evaluate --suite` as the command line runs it: progress, table, exit code."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import ConsoleDisplay, Display, make_display
from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.manifest_files import read_manifest
from jeeves_cli.suites.asking import SuiteGateway
from jeeves_cli.suites.cases import read_suites
from jeeves_cli.suites.judge import JudgeModel, calibrate, read_labels
from jeeves_cli.suites.running import NOT_ASKED, Judged, answered_rows, parse_bound, run_suites
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.jobs import JobProgress
from jeeves_shared.contracts.suites import SuiteReport

_SHOWN_MISSES_MAX = 20


@dataclass(frozen=True)
class JudgeOptions:
    """A judge as the options name it.

    Attributes:
        url: of its API.
        model: its name there.
        labels: file of labelled answers.
    """

    url: str
    model: str
    labels: Path


def evaluate_suites(
    paths: Sequence[Path],
    *,
    base: Path | None,
    at_least: Sequence[str],
    out: Path | None,
    as_json: bool,
    parallel: int = 1,
    resume: bool = False,
    judge: JudgeOptions | None = None,
) -> Exit:
    """Run suites and report.

    Args:
        paths: files, or folders of `*.jsonl`.
        base: folder of the logs.
        at_least: bounds, `KIND.METRIC=SHARE`.
        out: file for the report.
        as_json: the report on standard output, nothing else.
        parallel: cases at the same time, at least 1.
        resume: ask only what the report at `out` has no answer to.
        judge: calibrated before anything is asked.

    Returns:
        `OK`; `FAILED` if a case could not be asked; `GATE_REFUSED` if a bound is missed; `INTERRUPTED`.

    Raises:
        CommandError: mistakes in the suite, a missing log, or the gateway is away.
    """
    bounds = [parse_bound(text) for text in at_least]
    suites = read_suites(paths)
    if resume and out is None:
        raise CommandError("--resume goes on with the report at --out: name it.", Exit.USAGE)
    earlier = read_manifest(SuiteReport, out) if resume and out is not None and out.is_file() else None
    answered = answered_rows(earlier, suites) if earlier else {}
    display = make_display(as_json)
    judged = _calibrated(judge, display) if judge else None
    gateway = SuiteGateway(ServiceClient("gateway"))
    try:
        with display.stage("suite") as stage:

            def tell(done: int, of: int) -> None:
                stage.progress(JobProgress(fraction=done / of, message=f"case {done + 1} of {of}"))

            report = run_suites(
                suites,
                gateway,
                base=base,
                bounds=bounds,
                parallel=parallel,
                on_case=tell,
                judged=judged,
                answered=answered,
            )
            stage.done(f"{len(report.rows)} cases, model {', '.join(report.models) or 'none'}")
    finally:
        gateway.close()
        if judged:
            judged.model.close()
    text = report.model_dump_json(indent=2)
    if out is not None:
        write_atomic(out, text.encode("utf-8"))
    if as_json:
        print(text)
    elif isinstance(display, ConsoleDisplay):
        _show(report, display)
    return exit_code(report)


def _calibrated(options: JudgeOptions, display: Display) -> Judged:
    labels = read_labels(options.labels)
    model = JudgeModel(options.url, options.model)
    with display.stage("judge") as stage:

        def tell(done: int, of: int) -> None:
            stage.progress(JobProgress(fraction=done / of, message=f"label {done + 1} of {of}"))

        figures = calibrate(model, labels, tell)
        stage.done(f"{'counts' if figures.counts else 'does not count'}: {figures.reason}")
    return Judged(model, figures)


def exit_code(report: SuiteReport) -> Exit:
    """How the command ends."""
    if any(row.error == NOT_ASKED for row in report.rows):
        return Exit.INTERRUPTED
    if report.missed_bounds:
        return Exit.GATE_REFUSED
    return Exit.FAILED if any(row.error for row in report.rows) else Exit.OK


def suite_table(report: SuiteReport) -> Table:
    """One row a kind or category and metric."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("kind", "metric"):
        table.add_column(name)
    for name in ("cases", "mean", "95 %"):
        table.add_column(name, justify="right")
    for group in report.groups:
        name = f"  {group.category}" if group.category else group.kind.replace("_", " ")
        for metric in group.metrics:
            found = metric.estimate
            interval = f"{found.low * 100:.0f} … {found.high * 100:.0f} %"
            table.add_row(
                name, metric.name.replace("_", " "), str(metric.cases), f"{found.value * 100:.0f} %", interval
            )
            name = ""
        if group.errors:
            table.add_row(name, "not asked", str(group.errors), "", "")
    return table


def _show(report: SuiteReport, display: ConsoleDisplay) -> None:
    display.console.print(suite_table(report))
    wrong = [row for row in report.rows if row.misses or row.error]
    for row in wrong[:_SHOWN_MISSES_MAX]:
        display.line(f"  ✗ {row.id}: {row.error or '; '.join(row.misses)}")
    if len(wrong) > _SHOWN_MISSES_MAX:
        display.line(f"  … and {len(wrong) - _SHOWN_MISSES_MAX} more: see --json")
    for note in report.notes:
        display.line(f"note: {note}")
    for missed in report.missed_bounds:
        display.line(f"✗ {missed}")
