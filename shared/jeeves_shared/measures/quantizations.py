"""Base against tuned, before and after quantization: the evaluation reports of a model, type by type, in one table."""

from collections.abc import Callable, Sequence
from math import exp

from jeeves_shared.contracts.manifests import EvaluationReport, MetricComparison

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Head and rows, as text."""

_LOSS_UNIT = "nats/token"
_MISSING = "–"


def by_size(reports: Sequence[EvaluationReport]) -> list[EvaluationReport]:
    """Reports with the largest file first: what the others are quantized from, or come closest to."""
    return sorted(reports, key=lambda report: -report.file.size_bytes)


def quantization_table(reports: Sequence[EvaluationReport]) -> Table:
    """Each metric for base and tuned file of each quantization.

    A loss is also given as perplexity, and its change against the largest file of the same side where both were
    measured on as many samples.

    Args:
        reports: at least one, each on another quantization, all on the same frozen samples.
    """
    ordered = by_size(reports)
    head = ("", "samples", *(f"{side} {report.quantization}" for report in ordered for side in ("base", "tuned")))
    sizes = [cell for report in ordered for cell in ("", f"{report.file.size_bytes / 1e6:.0f} MB")]
    rows: list[tuple[str, ...]] = [("file", "", *sizes)]
    for name in dict.fromkeys(metric.name for report in ordered for metric in report.metrics):
        found = [next((metric for metric in report.metrics if metric.name == name), None) for report in ordered]
        rows += _rows(name, found)
    return head, rows


def perplexity_change(metric: MetricComparison, reference: MetricComparison) -> tuple[float, float]:
    """How much larger the perplexity of base and of tuned is than that of the same side elsewhere, as shares.

    Args:
        metric: a loss in nats per token.
        reference: the same loss of other files, on the same samples.
    """
    base = exp(metric.base.value - reference.base.value) - 1
    return base, exp(metric.candidate.value - reference.candidate.value) - 1


def _rows(name: str, found: Sequence[MetricComparison | None]) -> list[tuple[str, ...]]:
    first = next(metric for metric in found if metric is not None)
    title = name.replace("_", " ")
    counts = " / ".join(dict.fromkeys(str(metric.samples) for metric in found if metric is not None))
    if first.unit != _LOSS_UNIT:
        return [(title, counts, *_cells(found, lambda value: f"{value * 100:.1f} %"))]
    rows = [
        (f"{title}, {first.unit}", counts, *_cells(found, lambda value: f"{value:.3f}")),
        (f"{title}, perplexity", "", *_cells(found, lambda value: f"{exp(value):.2f}")),
    ]
    if len(found) > 1:
        changes = [_change(metric, found[0]) for metric in found]
        rows.append((f"{title}, perplexity against the largest", "", *(cell for pair in changes for cell in pair)))
    return rows


def _change(metric: MetricComparison | None, reference: MetricComparison | None) -> tuple[str, str]:
    if metric is None or reference is None or metric.samples != reference.samples:
        return _MISSING, _MISSING
    if metric is reference:
        return "", ""
    base, tuned = perplexity_change(metric, reference)
    return f"{base:+.2%}", f"{tuned:+.2%}"


def _cells(found: Sequence[MetricComparison | None], text: Callable[[float], str]) -> list[str]:
    return [
        cell
        for metric in found
        for cell in ((text(metric.base.value), text(metric.candidate.value)) if metric else (_MISSING, _MISSING))
    ]
