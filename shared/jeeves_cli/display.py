"""What a person sees: a bar per stage on a terminal, plain lines elsewhere, nothing with `--json`."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.jobs import JobProgress
from jeeves_shared.contracts.manifests import EvaluationReport, MetricComparison

_PLAIN_INTERVAL_SECONDS = 10.0
_NAME_WIDTH = 12


class Stage(Protocol):
    """One stage under way."""

    def progress(self, progress: JobProgress) -> None:
        """Show how far it is."""

    def done(self, summary: str) -> None:
        """Set the line that stays when it ends well."""


class Display(Protocol):
    """Where stages are shown."""

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """Show a stage while its block runs."""

    def line(self, text: str) -> None:
        """A line that stays."""


class _BarStage:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self.summary = ""

    def progress(self, progress: JobProgress) -> None:
        self._progress.update(self._task, completed=progress.fraction, message=progress.message)

    def done(self, summary: str) -> None:
        self.summary = summary


class _PlainStage:
    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._shown_at = time.monotonic()
        self.summary = ""

    def progress(self, progress: JobProgress) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _PLAIN_INTERVAL_SECONDS:
            self._shown_at = now
            self._console.print(
                f"▸ {self._name:<{_NAME_WIDTH}} {progress.fraction:4.0%}  {progress.message}",
                highlight=False,
                soft_wrap=True,
            )

    def done(self, summary: str) -> None:
        self.summary = summary


class ConsoleDisplay:
    """For people.

    Args:
        console: where to print; bars appear only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Show a stage while its block runs; its time and summary stay."""
        started = time.monotonic()
        if self.console.is_terminal:
            with Progress(
                TextColumn("▸ {task.description:<12}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("{task.fields[message]}"),
                console=self.console,
                transient=True,
            ) as progress:
                bar = _BarStage(progress, progress.add_task(name, total=1.0, message=""))
                yield bar
            summary = bar.summary
        else:
            plain = _PlainStage(name, self.console)
            self.console.print(f"▸ {name}", highlight=False)
            yield plain
            summary = plain.summary
        self.console.print(
            f"[green]✓[/green] {name:<{_NAME_WIDTH}} {duration(time.monotonic() - started):>10}   {summary}",
            highlight=False,
            soft_wrap=True,
        )

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _SilentStage:
    def progress(self, progress: JobProgress) -> None:
        """Nothing to show."""

    def done(self, summary: str) -> None:
        """Nothing to show."""


class SilentDisplay:
    """For machines: standard output holds the JSON only."""

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run the block."""
        yield _SilentStage()

    def line(self, text: str) -> None:
        """Nothing to show."""


def make_display(as_json: bool) -> ConsoleDisplay | SilentDisplay:
    """The display for a command.

    Args:
        as_json: standard output belongs to a machine.
    """
    return SilentDisplay() if as_json else ConsoleDisplay(Console(file=sys.stdout))


def duration(seconds: float) -> str:
    """Seconds for people: `8 s`, `1 min 42 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def size(size_bytes: int) -> str:
    """Bytes for people, in MB as file managers show them."""
    return f"{size_bytes / 1e6:.0f} MB"


def _figure(value: float, unit: str, signed: bool = False) -> str:
    if unit == "share":
        return f"{value * 100:+.0f} %" if signed else f"{value * 100:.0f} %"
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def _difference(estimate: Estimate, unit: str) -> str:
    low, high = _figure(estimate.low, unit, signed=True), _figure(estimate.high, unit, signed=True)
    return f"{_figure(estimate.value, unit, signed=True)}  ({low} … {high})"


def evaluation_table(report: EvaluationReport) -> Table:
    """Base against tuned, with the intervals of the differences."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    for heading in ("base", f"tuned {report.quantization}", "difference, 95 %"):
        table.add_column(heading, justify="right")
    has_champion = any(metric.champion_difference for metric in report.metrics)
    if has_champion:
        table.add_column("against champion", justify="right")
    for metric in report.metrics:
        row = [
            _metric_name(metric),
            _figure(metric.base.value, metric.unit),
            _figure(metric.candidate.value, metric.unit),
            _difference(metric.difference, metric.unit),
        ]
        if has_champion:
            row.append(_difference(metric.champion_difference, metric.unit) if metric.champion_difference else "")
        table.add_row(*row)
    return table


def _metric_name(metric: MetricComparison) -> str:
    unit = "" if metric.unit == "share" else f", {metric.unit}"
    return f"{metric.name.replace('_', ' ')}{unit} (n={metric.samples})"
