"""The card of a model version, as Markdown with Hugging Face's front matter and as one HTML page with its curve."""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_trainer.curve_picture import curve_svg

Table = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]

_LIMITS = (
    "Answers are meant to rest on retrieved passages: without them the model invents.",
    "It was judged on questions made for this data set; other questions may go worse.",
    "It refuses and cites by habit, not by proof: the gateway checks what it says.",
)


@dataclass(frozen=True)
class CardParts:
    """What a card is made of.

    Attributes:
        model: the version.
        training: that it came from; None if its manifest is gone.
        dataset: likewise.
        report: the latest evaluation; None if there is none.
        curve: points of the training, in order.
    """

    model: ModelManifest
    training: TrainingManifest | None
    dataset: DatasetManifest | None
    report: EvaluationReport | None
    curve: Sequence[dict[str, float]]


@dataclass(frozen=True)
class _Section:
    """A heading, lines of text and perhaps a table; both forms are written from these."""

    title: str
    lines: tuple[str, ...] = ()
    table: Table | None = None


def card_markdown(parts: CardParts) -> str:
    """The card for a model repository: front matter, sections, the curve as a picture inside of the text."""
    lines = [_front_matter(parts), f"# {_title(parts)}", ""]
    for section in _sections(parts):
        lines += [f"## {section.title}", "", *(f"{line}\n" for line in section.lines)]
        if section.table is not None:
            head, rows = section.table
            lines += [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows), ""]
    if parts.curve:
        picture = base64.b64encode(curve_svg(parts.curve).encode()).decode()
        lines += ["## Curve", "", f"![Loss by step](data:image/svg+xml;base64,{picture})", ""]
    return "\n".join(lines)


def card_html(parts: CardParts) -> str:
    """The card as one page without scripts; everything that is not ours is escaped."""
    body = [f"<h1>{html.escape(_title(parts))}</h1>"]
    for section in _sections(parts):
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body += [f"<p>{html.escape(line)}</p>" for line in section.lines]
        if section.table is not None:
            head, rows = section.table
            body.append(f"<table><tr>{_cells(head, 'th')}</tr>")
            body += [f"<tr>{_cells(row, 'td')}</tr>" for row in rows]
            body.append("</table>")
    if parts.curve:
        body += ["<h2>Curve</h2>", curve_svg(parts.curve)]
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(_title(parts))}</title><style>{style}</style></head><body>{''.join(body)}</body></html>"
    )


def _title(parts: CardParts) -> str:
    return f"{parts.model.name} v{parts.model.version}"


def _front_matter(parts: CardParts) -> str:
    # JSON strings are YAML strings: nothing in a name can break out.
    model = parts.model
    fields = {
        "license": model.base_licence.lower(),
        "base_model": model.base_model,
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["jenkins", "gguf", "jeeves"],
        "model_name": model.name,
    }
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in fields.items()), "---", ""])


def _sections(parts: CardParts) -> list[_Section]:
    model = parts.model
    sections = [
        _Section(
            "Model",
            (
                f"{model.base_model} ({model.base_licence}), tuned to answer questions on Jenkins from given passages.",
                f"Architecture {model.architecture}; chat template sha256 {model.template_sha256}; "
                f"prompt rules sha256 {model.prompt_sha256}.",
            ),
        ),
        _Section("Files", table=_files(model)),
    ]
    if parts.dataset is not None:
        sections.append(_data(parts.dataset))
    if parts.training is not None:
        sections.append(_training(parts.training))
    if parts.report is not None:
        sections.append(_evaluation(parts.report))
    lineage = (
        f"model {model.id} ← training {model.training_id} ← data set {model.dataset_id}; "
        f"recipe sha256 {model.recipe_sha256}."
    )
    return [*sections, _Section("Limits", _LIMITS), _Section("Lineage", (lineage,))]


def _files(model: ModelManifest) -> Table:
    rows = []
    for file in model.files:
        trip = file.round_trip
        drift = (
            f"KL {trip.mean_kl_divergence:.4f}, first choice {trip.greedy_agreement:.1%}" if trip else "not measured"
        )
        size = f"{file.artifact.size_bytes / 1e6:.0f} MB"
        rows.append((file.artifact.name, file.quantization, size, drift, file.artifact.sha256))
    return ("file", "type", "size", "against BF16", "sha256"), rows


def _data(dataset: DatasetManifest) -> _Section:
    drops = ", ".join(f"{count} {reason}" for reason, count in sorted(dataset.drops.items())) or "none"
    return _Section(
        "Data",
        (
            f"{dataset.id}: {dataset.pairs_kept} pairs kept, dropped: {drops}; {dataset.train_samples} training and "
            f"{dataset.evaluation_samples} evaluation samples from other documents. Licences and attribution stand in "
            f"its own card ({dataset.card.sha256}).",
        ),
    )


def _training(training: TrainingManifest) -> _Section:
    return _Section(
        "Training",
        (
            f"{training.steps} steps at {training.tokens_per_second:.0f} tokens/s. Held-out loss "
            f"{training.eval_loss_before:.3f} → {training.eval_loss:.3f} nats per answer token at step "
            f"{training.best_step}, the checkpoint that counts.",
        ),
    )


def _evaluation(report: EvaluationReport) -> _Section:
    rows = []
    for metric in report.metrics:
        gain = metric.difference
        rows.append(
            (
                metric.name,
                str(metric.samples),
                f"{metric.base.value:.3f}",
                f"{metric.candidate.value:.3f}",
                f"{gain.value:+.3f} ({gain.low:+.3f} … {gain.high:+.3f})",
            )
        )
    verdict = "passed" if report.passed else "refused"
    reasons = tuple(f"{'✓' if item.passed else '✗'} {item.name}: {item.reason}" for item in report.gate)
    return _Section(
        "Evaluation",
        (f"{report.file.name} on {report.engine}: the gate {verdict}.", *reasons),
        (("metric", "samples", "base", "tuned", "difference, 95 %"), rows),
    )


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _cells(cells: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
