"""What a CI server shows of a run: JUnit of the gates, HTML cards, CSV for plots; made from the manifests alone."""

import csv
import io
from html import escape
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, SubElement, tostring

from pydantic import ValidationError

from jeeves_cli.exits import CommandError, Exit
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.base import Contract
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest

C = TypeVar("C", bound=Contract)

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1><table border="1" cellpadding="4">{rows}</table></html>
"""


def write_reports(manifests: Path, out: Path) -> list[Path]:
    """Write all that the manifests of a folder give.

    Args:
        manifests: folder with `dataset.json`, `training.json`, `model-*.json`, `report-*.json`; any may be missing.
        out: folder to write to.

    Returns:
        The files.

    Raises:
        CommandError: a manifest cannot be read.
    """
    files: dict[str, bytes] = {}
    reports = [read_manifest(EvaluationReport, path) for path in sorted(manifests.glob("report-*.json"))]
    for report in reports:
        files[f"gate-{report.quantization}.xml"] = _junit(report)
    if (path := manifests / "dataset.json").is_file():
        files["dataset-card.html"] = _dataset_card(read_manifest(DatasetManifest, path))
    models = [read_manifest(ModelManifest, path) for path in sorted(manifests.glob("model-*.json"))]
    if models:
        files["model-card.html"] = _model_card(models, reports)
    if (path := manifests / "training.json").is_file():
        training = read_manifest(TrainingManifest, path)
        files["loss.csv"] = _csv(
            {"before": training.eval_loss_before, "held-out": training.eval_loss, "training": training.train_loss}
        )
    if reports:
        files["quality.csv"] = _csv(
            {f"{metric.name} {one.quantization}": metric.candidate.value for one in reports for metric in one.metrics}
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomic(out / name, content)
    return [out / name for name in files]


def read_manifest(contract: type[C], path: Path) -> C:
    """A manifest from a file.

    Raises:
        CommandError: there is no such file, or it is another kind of manifest.
    """
    try:
        return contract.model_validate_json(path.read_bytes())
    except OSError as exc:
        raise CommandError(f"{path} cannot be read: {exc.strerror}.", Exit.USAGE) from exc
    except ValidationError as exc:
        raise CommandError(f"{path} is not a {contract.__name__}: run the step before again.", Exit.USAGE) from exc


def _junit(report: EvaluationReport) -> bytes:
    failed = [condition for condition in report.gate if not condition.passed]
    suite = Element(
        "testsuite",
        name=f"gate.{report.quantization}",
        tests=str(len(report.gate)),
        failures=str(len(failed)),
        timestamp=report.created_at.isoformat(),
    )
    for condition in report.gate:
        case = SubElement(suite, "testcase", classname=f"gate.{report.quantization}", name=condition.name)
        SubElement(case, "system-out").text = condition.reason
        if not condition.passed:
            SubElement(case, "failure", message=condition.reason)
    return bytes(tostring(suite, encoding="utf-8", xml_declaration=True))


def _dataset_card(dataset: DatasetManifest) -> bytes:
    rows: dict[str, object] = {
        "Data set": dataset.id,
        "Training samples": dataset.train_samples,
        "Evaluation samples": dataset.evaluation_samples,
        "Pairs kept": dataset.pairs_kept,
        **{f"Dropped: {reason}": number for reason, number in sorted(dataset.drops.items())},
        "Card (sha256)": dataset.card.sha256,
    }
    return _page("Data set card", rows)


def _model_card(models: list[ModelManifest], reports: list[EvaluationReport]) -> bytes:
    rows: dict[str, object] = {
        "Model": models[0].name,
        "Base model": f"{models[0].base_model} ({models[0].base_licence})",
    }
    for model in models:
        for file in model.files:
            rows[f"v{model.version} {file.quantization}"] = (
                f"{file.artifact.size_bytes / 1e6:.0f} MB, {file.artifact.sha256}"
            )
    for report in reports:
        rows[f"Gate of {report.quantization}"] = "passed" if report.passed else "refused"
        for metric in report.metrics:
            rows[f"{metric.name} ({report.quantization})"] = (
                f"{metric.candidate.value:.3f} {metric.unit}, base {metric.base.value:.3f}, "
                f"difference {metric.difference.low:+.3f} … {metric.difference.high:+.3f}"
            )
    return _page("Model card", rows)


def _page(title: str, rows: dict[str, object]) -> bytes:
    cells = "".join(
        f"<tr><th align='left'>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>\n" for k, v in rows.items()
    )
    return _PAGE.format(title=escape(title), rows=cells).encode("utf-8")


def _csv(figures: dict[str, float]) -> bytes:
    """Header and one row, as Jenkins' plot plugin reads it: one point a build."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(figures)
    writer.writerow(figures.values())
    return text.getvalue().encode("utf-8")
