"""`jeeves exam`: multiple-choice files in the format of CMMLU, C-Eval and DevOps-Eval."""

import csv
from pathlib import Path

from pydantic import ValidationError

from jeeves_cli.client import ServiceClient
from jeeves_cli.display import ConsoleDisplay, make_display
from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.contracts.exams import Exam, ExamQuestion
from jeeves_shared.contracts.manifests import ExamReport, ModelManifest
from jeeves_shared.contracts.requests import ExamRequest


def read_exam(path: Path, examples: Path | None, language: str) -> Exam:
    """Read an exam and its worked examples.

    Args:
        path: CSV.
        examples: CSV; None: `…-dev.csv` beside a `…-test.csv`, if there is one.
        language: `en` or `zh`.

    Raises:
        CommandError: unreadable, or lines with mistakes: all of them are named.
    """
    beside = path.with_name(path.name.replace("-test.csv", "-dev.csv"))
    if examples is None and beside != path and beside.is_file():
        examples = beside
    try:
        return Exam(
            name=path.stem.removesuffix("-test"),
            language=language,
            questions=tuple(_questions(path)),
            examples=tuple(_questions(examples)) if examples else (),
        )
    except ValidationError as exc:
        mistakes = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in exc.errors(include_url=False))
        raise CommandError(f"{path} is no exam: {mistakes}.", Exit.USAGE) from exc


def _questions(path: Path) -> list[ExamQuestion]:
    mistakes: list[str] = []
    questions: list[ExamQuestion] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                known = {name: row.get(name) or "" for name in ExamQuestion.model_fields}
                try:
                    questions.append(ExamQuestion.model_validate(known))
                except ValidationError as exc:
                    fields = ", ".join(str(error["loc"][0]) for error in exc.errors())
                    mistakes.append(f"  line {reader.line_num}: {fields}")
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise CommandError(f"{path} is no CSV in UTF-8: {exc}", Exit.USAGE) from exc
    if mistakes:
        raise CommandError(f"{path} has {len(mistakes)} line(s) with mistakes:\n" + "\n".join(mistakes), Exit.USAGE)
    return questions


def sit_exam(exam: Exam, model: ModelManifest, quantization: str, shots: tuple[int, ...], as_json: bool) -> ExamReport:
    """Let the trainer put an exam to a model and its base, and show how they did.

    Raises:
        CommandError: the trainer is away or the job failed.
    """
    display = make_display(as_json)
    with display.stage("exam") as stage:
        report = ServiceClient("trainer").run_job(
            "exams",
            ExamRequest(exam=exam, model=model, quantization=quantization, shots=shots),
            ExamReport,
            stage.progress,
        )
        stage.done(f"{len(exam.questions)} questions of {exam.name}")
    if isinstance(display, ConsoleDisplay):
        for metric in report.metrics:
            base, tuned, gained = metric.base.value, metric.candidate.value, metric.difference
            display.line(
                f"  {metric.name.replace('_', ' ')}: base {base:.1%}, tuned {tuned:.1%}, "
                f"difference {gained.value:+.1%} ({gained.low:+.1%} … {gained.high:+.1%}); chance 25 %"
            )
    return report
