"""`jeeves compare`: base against tuned, before and after quantization."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import AnswerSample, ArtifactRef, EvaluationReport, MetricComparison
from jeeves_shared.measures.quantizations import quantization_table

Jeeves = Callable[..., Any]


def metric(name: str, unit: str, base: float, tuned: float, samples: int = 40) -> MetricComparison:
    def exactly(value: float) -> Estimate:
        return Estimate(value=value, low=value, high=value)

    return MetricComparison(
        name=name,
        unit=unit,
        higher_is_better=unit == "share",
        samples=samples,
        base=exactly(base),
        candidate=exactly(tuned),
        difference=exactly(tuned - base),
    )


def report(quantization: str, size: int, *metrics: MetricComparison, samples: str = "0" * 64) -> EvaluationReport:
    return EvaluationReport(
        id=f"evaluation-{quantization}",
        model_id="model-1",
        file=ArtifactRef(sha256="a" * 64, size_bytes=size, name=f"{quantization}.gguf"),
        quantization=quantization,
        engine="llama.cpp",
        dataset_id="dataset-0",
        evaluation_sha256=samples,
        metrics=metrics,
        gate=(),
        passed=True,
        samples=(
            AnswerSample(question="Why?\n# no heading", reference="So.", base="b", candidate=f"by {quantization}\n> x"),
            AnswerSample(suite="safety", question="Not of the data set", reference="", base="", candidate=""),
        ),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


LARGE = report("BF16", 271_000_000, metric("answer_loss", "nats/token", 1.5, 1.0), metric("refusals", "share", 0, 0.25))
SMALL = report("Q8_0", 145_000_000, metric("answer_loss", "nats/token", 1.5, 1.0 + math.log(1.004)))


def write(folder: Path, *reports: EvaluationReport) -> list[str]:
    paths = [folder / f"{number}.json" for number, _ in enumerate(reports)]
    for path, one in zip(paths, reports, strict=True):
        path.write_text(one.model_dump_json())
    return [str(path) for path in paths]


def test_the_table_goes_from_the_largest_file_to_the_smallest():
    head, rows = quantization_table([SMALL, LARGE])
    assert head == ("", "samples", "base BF16", "tuned BF16", "base Q8_0", "tuned Q8_0")
    assert rows == [
        ("file", "", "", "271 MB", "", "145 MB"),
        ("answer loss, nats/token", "40", "1.500", "1.000", "1.500", "1.004"),
        ("answer loss, perplexity", "", "4.48", "2.72", "4.48", "2.73"),
        ("answer loss, perplexity against the largest", "", "", "", "+0.00%", "+0.40%"),
        ("refusals", "40", "0.0 %", "25.0 %", "–", "–"),
    ]


def test_what_was_measured_on_fewer_samples_is_not_compared():
    fewer = report("Q8_0", 145, metric("answer_loss", "nats/token", 1.5, 1.0, samples=12))
    _, rows = quantization_table([LARGE, fewer])
    assert rows[1][1] == "40 / 12" and rows[3][2:] == ("", "", "–", "–")
    _, alone = quantization_table([fewer])
    assert [row[0] for row in alone] == ["file", "answer loss, nats/token", "answer loss, perplexity"]


def test_markdown_for_people_and_json_for_machines(jeeves: Jeeves, tmp_path: Path) -> None:
    paths = write(tmp_path, SMALL, LARGE)
    shown = jeeves("compare", *paths)
    assert shown.returncode == 0, shown.stderr
    assert "### 1. Why? # no heading\n" in shown.stdout and "Not of the data set" not in shown.stdout
    assert "**tuned BF16**\n\n> by BF16\n> > x\n" in shown.stdout
    out = tmp_path / "compared.md"
    told = jeeves("compare", *paths, "--out", str(out), "--answers", "0", "--json")
    assert json.loads(told.stdout)[3]["tuned Q8_0"] == "+0.40%"
    assert out.read_text().rstrip().endswith("|")


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ((LARGE, LARGE), "Two reports on BF16"),
        ((LARGE, report("Q8_0", 1, samples="1" * 64)), "different evaluation samples"),
    ],
)
def test_reports_that_cannot_be_compared(
    reports: tuple[EvaluationReport, ...], words: str, jeeves: Jeeves, tmp_path: Path
) -> None:
    refused = jeeves("compare", *write(tmp_path, *reports))
    assert refused.returncode == 2 and words in refused.stderr
