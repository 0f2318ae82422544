"""An evaluation report for people (Markdown) and for Jenkins (JUnit XML): pure functions of the manifest."""

from xml.etree import ElementTree

from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import EvaluationReport, MetricComparison


def markdown(report: EvaluationReport) -> str:
    """The report as Markdown: verdict, table, conditions, answers side by side."""
    passed = sum(condition.passed for condition in report.gate)
    verdict = "passed" if report.passed else "refused"
    has_champion = any(metric.champion for metric in report.metrics)
    champion_head, champion_rule = (" champion |", "---|") if has_champion else ("", "")
    lines = [
        f"# Evaluation of {report.file.name}",
        "",
        f"Gate: **{verdict}**, {passed} of {len(report.gate)} conditions. Model `{report.model_id}`, "
        f"file sha256 `{report.file.sha256}`, {report.engine}, data set `{report.dataset_id}`.",
        "",
        f"| metric | samples | base | {report.quantization} tuned | difference, 95 % |{champion_head}",
        f"|---|---|---|---|---|{champion_rule}",
        *(_metric_row(metric, has_champion) for metric in report.metrics),
        "",
        "## Conditions",
        "",
        *(f"- {'✓' if condition.passed else '✗'} `{condition.name}`: {condition.reason}" for condition in report.gate),
        "",
        "## Answers side by side",
        "",
    ]
    for sample in report.samples:
        lines += [
            f"### {sample.question}",
            "",
            *_quoted("reference", sample.reference),
            *_quoted("base", sample.base),
            *_quoted("tuned", sample.candidate),
        ]
    return "\n".join(lines)


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
        case = ElementTree.SubElement(suite, "testcase", classname=report.model_id, name=condition.name)
        if condition.passed:
            ElementTree.SubElement(case, "system-out").text = condition.reason
        else:
            ElementTree.SubElement(case, "failure", message=condition.reason)
    document: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return document


def _metric_row(metric: MetricComparison, has_champion: bool) -> str:
    cells = [
        metric.name,
        str(metric.samples),
        _figure(metric.base.value, metric.unit),
        _figure(metric.candidate.value, metric.unit),
        _interval(metric.difference, metric.unit),
    ]
    if has_champion:
        cells.append(_figure(metric.champion.value, metric.unit) if metric.champion else "")
    return f"| {' | '.join(cells)} |"


def _figure(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "share" else f"{value:.3f}"


def _interval(estimate: Estimate, unit: str) -> str:
    if unit == "share":
        return f"{estimate.value * 100:+.0f} ({estimate.low * 100:+.0f} … {estimate.high * 100:+.0f})"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} … {estimate.high:+.3f})"


def _quoted(name: str, text: str) -> list[str]:
    return [f"**{name}**", "", *(f"> {line}" for line in text.splitlines() or [""]), ""]
