"""What a CI server shows of a run: JUnit of the gates, HTML cards, CSV for plots.

Cards and JUnit are those of the services, asked by the ids in the manifests of the build.
"""

import csv
import io
from pathlib import Path

from jeeves_cli.client import ServiceClient
from jeeves_cli.manifest_files import read_manifest
from jeeves_shared.artifacts import write_atomic
from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest


def write_reports(manifests: Path, out: Path) -> list[Path]:
    """Write all that the manifests of a folder give.

    Args:
        manifests: folder with `dataset.json`, `training.json`, `model-*.json`, `report-*.json` and `chosen-model.json`,
            any of which may be missing. The card is that of the chosen model, or of the first if none was chosen.
        out: folder to write to.

    Returns:
        The files.

    Raises:
        CommandError: a manifest cannot be read, or its service does not know it.
        ServiceUnreachable: a service does not answer.
    """
    trainer, files = ServiceClient("trainer"), dict[str, bytes]()
    reports = [read_manifest(EvaluationReport, path) for path in sorted(manifests.glob("report-*.json"))]
    for report in reports:
        files[f"gate-{report.quantization}.xml"] = trainer.page(f"/v1/reports/{report.id}?form=junit")
    if (path := manifests / "dataset.json").is_file():
        dataset = read_manifest(DatasetManifest, path)
        files["dataset-card.html"] = ServiceClient("curator").page(f"/v1/cards/{dataset.id}")
    models = [*manifests.glob("chosen-model.json"), *sorted(manifests.glob("model-*.json"))]
    if models:
        files["model-card.html"] = trainer.page(f"/v1/models/{read_manifest(ModelManifest, models[0]).id}/card")
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


def _csv(figures: dict[str, float]) -> bytes:
    """Header and one row, as Jenkins' plot plugin reads it: one point a build."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(figures)
    writer.writerow(figures.values())
    return text.getvalue().encode("utf-8")
