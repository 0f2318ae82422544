"""`jeeves compare`: base against tuned, before and after quantization, from the reports of `jeeves evaluate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from jeeves_cli.exits import CommandError, Exit
from jeeves_cli.manifest_files import read_manifest
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.manifests import AnswerSample, EvaluationReport
from jeeves_shared.measures.quantizations import Table, by_size, quantization_table

_LEFT_COLUMNS = 1


def compare(
    reports: Annotated[list[Path], typer.Argument(help="Reports of `jeeves evaluate`, one a quantization.")],
    answers: Annotated[int, typer.Option(min=0, help="Questions to show side by side.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", help="Write the Markdown to this file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The table as JSON on standard output, nothing else.")
    ] = False,
) -> int:
    """Show base against tuned for each quantization, and answers side by side, as Markdown."""
    read = _comparable([read_manifest(EvaluationReport, path) for path in reports])
    table = quantization_table(read)
    text = "\n".join([*_markdown_table(table), "", *_side_by_side(read, answers)])
    if out is not None:
        write_atomic(out, text.encode("utf-8"))
    if as_json:
        head, rows = table
        print(json.dumps([dict(zip(("figure", *head[1:]), row, strict=True)) for row in rows], indent=2))
    elif out is None:
        print(text)
    return Exit.OK


def _comparable(reports: list[EvaluationReport]) -> list[EvaluationReport]:
    ordered = by_size(reports)
    types = [report.quantization for report in ordered]
    if twice := sorted({name for name in types if types.count(name) > 1}):
        raise CommandError(f"Two reports on {', '.join(twice)}: give one a quantization.", Exit.USAGE)
    if len({report.evaluation_sha256 for report in ordered}) > 1:
        raise CommandError("The reports are on different evaluation samples: evaluate all on one data set.", Exit.USAGE)
    return ordered


def _markdown_table(table: Table) -> list[str]:
    head, rows = table
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            cell.ljust(width) if column < _LEFT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    ruler = ["-" * width if column < _LEFT_COLUMNS else f"{'-' * (width - 1)}:" for column, width in enumerate(widths)]
    return [line(head), f"| {' | '.join(ruler)} |", *(line(row) for row in rows)]


def _side_by_side(reports: list[EvaluationReport], count: int) -> list[str]:
    """The first questions that every report has: neither the best nor the worst are picked."""
    by_question = [_of_the_data_set(report) for report in reports]
    shared = [question for question in by_question[0] if all(question in one for one in by_question)]
    lines: list[str] = []
    for number, question in enumerate(shared[:count], start=1):
        lines += [f"### {number}. {' '.join(question.split())}", ""]
        lines += _quoted("reference", by_question[0][question].reference)
        for report, samples in zip(reports, by_question, strict=True):
            lines += _quoted(f"base {report.quantization}", samples[question].base)
            lines += _quoted(f"tuned {report.quantization}", samples[question].candidate)
    return lines


def _of_the_data_set(report: EvaluationReport) -> dict[str, AnswerSample]:
    return {sample.question: sample for sample in report.samples if not sample.suite}


def _quoted(name: str, text: str) -> list[str]:
    return [f"**{name}**", "", *(f"> {line}".rstrip() for line in text.splitlines() or [""]), ""]
