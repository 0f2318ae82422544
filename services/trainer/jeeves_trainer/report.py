"""An evaluation report for people (Markdown, HTML) and for Jenkins (JUnit XML): pure functions of the manifest."""

from collections.abc import Callable, Sequence
from functools import partial
from math import exp
from xml.etree import ElementTree

from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import EvaluationReport, FileSpeed, MetricComparison
from jeeves_trainer.pages import Section, Table, html_of, html_page, markdown_of

_LOSS_UNIT = "nats/token"


def markdown(report: EvaluationReport) -> str:
    """The report as Markdown: verdict, table, conditions, answers side by side."""
    return "\n".join([f"# {_title(report)}", "", *markdown_of(report_sections(report))])


def page(report: EvaluationReport) -> str:
    """The same as one HTML page without scripts; everything that is not ours is escaped."""
    return html_page(_title(report), html_of(report_sections(report)))


def report_sections(report: EvaluationReport) -> list[Section]:
    """What a report says, for a page of its own or on a card."""
    passed = sum(condition.passed for condition in report.gate)
    verdict = "passed" if report.passed else "refused"
    sections = [
        Section(
            f"Evaluation of {report.file.name}",
            (
                f"{report.quantization} on {report.engine}: the gate {verdict}, "
                f"{passed} of {len(report.gate)} conditions.",
                f"Model {report.model_id}, file sha256 {report.file.sha256}, data set {report.dataset_id}, "
                f"evaluation samples sha256 {report.evaluation_sha256}.",
            ),
            _metrics(report),
            tuple(f"{'✓' if item.passed else '✗'} {item.name}: {item.reason}" for item in report.gate),
        )
    ]
    if report.speeds:
        sections.append(
            Section(
                "Speed by quantization",
                ("One question at a time, nothing cached, on the machine of the evaluation.",),
                _speeds(report.speeds),
            )
        )
    if report.samples:
        sections.append(
            Section(
                "Answers side by side", ("The first ones of a fixed order: neither the best nor the worst are picked.",)
            )
        )
    for sample in report.samples:
        title = f"{sample.suite}: {sample.question}" if sample.suite else sample.question
        quotes = (("reference", sample.reference), ("base", sample.base), ("tuned", sample.candidate))
        sections.append(Section(title, quotes=quotes, level=3))
    return sections


def junit_xml(report: EvaluationReport) -> bytes:
    """The gate as JUnit XML: one test case a condition."""
    failed = [condition for condition in report.gate if not condition.passed]
    suite = ElementTree.Element(
        "testsuite",
        name=f"jeeves.gate.{report.quantization}",
        tests=str(len(report.gate)),
        failures=str(len(failed)),
        timestamp=report.created_at.isoformat(),
    )
    for condition in report.gate:
        # Named after the file's kind, not after the model: so a CI server shows a condition's history over builds.
        case = ElementTree.SubElement(suite, "testcase", classname=suite.attrib["name"], name=condition.name)
        ElementTree.SubElement(case, "system-out").text = condition.reason
        if not condition.passed:
            ElementTree.SubElement(case, "failure", message=condition.reason)
    document: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document


def _title(report: EvaluationReport) -> str:
    return f"{report.file.name}: {'passed' if report.passed else 'refused'}"


def _metrics(report: EvaluationReport) -> Table:
    has_champion = any(metric.champion for metric in report.metrics)
    head = ("metric", "samples", "base", f"{report.quantization} tuned", "difference, 95 %")
    rows = [row for metric in report.metrics for row in _metric_rows(metric, has_champion)]
    return (*head, "champion", "against champion, 95 %") if has_champion else head, rows


def _metric_rows(metric: MetricComparison, has_champion: bool) -> list[tuple[str, ...]]:
    """One row; a loss has a second one, as perplexity."""
    rows = [
        _row(metric, has_champion, metric.name, partial(_figure, unit=metric.unit), partial(_interval, metric.unit))
    ]
    if metric.unit == _LOSS_UNIT:
        title = f"{metric.name}, perplexity"
        rows.append(_row(metric, has_champion, title, lambda nats: f"{exp(nats):.2f}", _perplexity_change))
    return rows


def _row(
    metric: MetricComparison,
    has_champion: bool,
    title: str,
    figure: Callable[[float], str],
    difference: Callable[[Estimate], str],
) -> tuple[str, ...]:
    cells = (
        title,
        str(metric.samples),
        figure(metric.base.value),
        figure(metric.candidate.value),
        difference(metric.difference),
    )
    if not has_champion:
        return cells
    champion = figure(metric.champion.value) if metric.champion else ""
    return (*cells, champion, difference(metric.champion_difference) if metric.champion_difference else "")


def _speeds(speeds: Sequence[FileSpeed]) -> Table:
    rows = [
        (
            speed.quantization,
            f"{speed.size_bytes / 1e6:.0f} MB",
            _spread(speed.first_token_seconds),
            _spread(speed.tokens_per_second),
            f"{speed.memory_bytes / 2**20:.0f} MiB",
        )
        for speed in speeds
    ]
    return ("type", "file", "first token, s", "tokens/s", "memory"), rows


def _spread(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f} … {found.high:.2f})"


def _figure(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "share" else f"{value:.3f}"


def _interval(unit: str, estimate: Estimate) -> str:
    if unit == "share":
        return f"{estimate.value * 100:+.1f} ({estimate.low * 100:+.1f} … {estimate.high * 100:+.1f}) points"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} … {estimate.high:+.3f})"


def _perplexity_change(nats: Estimate) -> str:
    """A difference of losses as a ratio of perplexities: the same interval, since the exponential is monotone."""
    value, low, high = (exp(one) - 1 for one in (nats.value, nats.low, nats.high))
    return f"{value:+.1%} ({low:+.1%} … {high:+.1%})"
