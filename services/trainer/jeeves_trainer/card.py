"""The card of a model version, as Markdown with Hugging Face's front matter and as one HTML page with its curve."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from jeeves_shared.contracts.manifests import DatasetManifest, EvaluationReport, ModelManifest, TrainingManifest
from jeeves_shared.measures.quantizations import quantization_table
from jeeves_trainer.curve_picture import curve_svg
from jeeves_trainer.pages import Section, Table, html_of, html_page, markdown_of
from jeeves_trainer.report import report_sections

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
        reports: the latest evaluation of each quantization, latest first.
        curve: points of the training, in order.
    """

    model: ModelManifest
    training: TrainingManifest | None
    dataset: DatasetManifest | None
    reports: Sequence[EvaluationReport]
    curve: Sequence[dict[str, float]]


def card_markdown(parts: CardParts) -> str:
    """The card for a model repository: front matter, sections, the curve as a picture inside of the text."""
    lines = [_front_matter(parts), f"# {_title(parts)}", "", *markdown_of(_sections(parts))]
    if parts.curve:
        picture = base64.b64encode(curve_svg(parts.curve).encode()).decode()
        lines += ["## Curve", "", f"![Loss by step](data:image/svg+xml;base64,{picture})", ""]
    return "\n".join(lines)


def card_html(parts: CardParts) -> str:
    """The card as one page without scripts; everything that is not ours is escaped."""
    curve = ["<h2>Curve</h2>", curve_svg(parts.curve)] if parts.curve else []
    return html_page(_title(parts), [*html_of(_sections(parts)), *curve])


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


def _sections(parts: CardParts) -> list[Section]:
    model = parts.model
    sections = [
        Section(
            "Model",
            (
                f"{model.base_model} ({model.base_licence}), tuned to answer questions on Jenkins from given passages.",
                f"Architecture {model.architecture}; chat template sha256 {model.template_sha256}; "
                f"prompt rules sha256 {model.prompt_sha256}.",
            ),
        ),
        Section("Files", table=_files(model)),
    ]
    if parts.dataset is not None:
        sections.append(_data(parts.dataset))
    if parts.training is not None:
        sections.append(_training(parts.training))
    if len(parts.reports) > 1 and len({report.evaluation_sha256 for report in parts.reports}) == 1:
        sections.append(Section("Before and after quantization", table=quantization_table(parts.reports)))
    for report in parts.reports:
        sections += report_sections(report)
    lineage = (
        f"model {model.id} ← training {model.training_id} ← data set {model.dataset_id}; "
        f"recipe sha256 {model.recipe_sha256}."
    )
    return [*sections, Section("Limits", _LIMITS), Section("Lineage", (lineage,))]


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


def _data(dataset: DatasetManifest) -> Section:
    drops = ", ".join(f"{count} {reason}" for reason, count in sorted(dataset.drops.items())) or "none"
    return Section(
        "Data",
        (
            f"{dataset.id}: {dataset.pairs_kept} pairs kept, dropped: {drops}; {dataset.train_samples} training and "
            f"{dataset.evaluation_samples} evaluation samples from other documents. Licences and attribution stand in "
            f"its own card ({dataset.card.sha256}).",
        ),
    )


def _training(training: TrainingManifest) -> Section:
    return Section(
        "Training",
        (
            f"{training.steps} steps at {training.tokens_per_second:.0f} tokens/s. Held-out loss "
            f"{training.eval_loss_before:.3f} → {training.eval_loss:.3f} nats per answer token at step "
            f"{training.best_step}, the checkpoint that counts.",
        ),
    )
