"""The gate says no for each reason that it has, and says why."""

from xml.etree import ElementTree

import pytest

from jeeves_shared.artifacts import ArtifactStore
from jeeves_shared.contracts.recipes import GateSettings
from jeeves_trainer.gate import judge
from jeeves_trainer.report import junit_xml, markdown, page


@pytest.fixture
def better(make_metric):
    return {
        metric.name: metric
        for metric in (
            make_metric("answer_loss", 1.4, 0.9, champion=0.9),
            make_metric("answer_loss_closed_book", 3.8, 3.1),
            make_metric("token_f1", 0.3, 0.5),
            make_metric("key_facts", 0.4, 0.6),
            make_metric("refusals", 0.1, 0.9),
        )
    }


def failed(metrics, settings: GateSettings | None = None) -> list[str]:
    return [condition.name for condition in judge(metrics, settings or GateSettings()) if not condition.passed]


def test_a_better_file_passes_with_figures_in_every_reason(better):
    conditions = judge(better, GateSettings())
    assert all(condition.passed for condition in conditions)
    assert len(conditions) == 6
    assert "1.400 → 0.900" in conditions[0].reason


@pytest.mark.parametrize(
    ("name", "values", "condition"),
    [
        ("answer_loss", (1.4, 1.39), "answer_loss_improves"),
        ("answer_loss", (1.4, 1.6), "answer_loss_improves"),
        ("answer_loss_closed_book", (3.0, 3.1), "closed_book_loss_not_worse"),
        ("token_f1", (0.4, 0.405), "answers_improve"),
        ("key_facts", (0.4, 0.34), "key_facts_kept"),
        ("refusals", (0.9, 0.7), "refusals_kept"),
    ],
)
def test_each_condition_can_refuse(better, make_metric, name, values, condition):
    assert failed(better | {name: make_metric(name, *values)}) == [condition]


def test_an_interval_that_holds_zero_refuses(better, make_metric):
    assert failed(better | {"answer_loss": make_metric("answer_loss", 1.4, 1.2, margin=0.3)}) == [
        "answer_loss_improves"
    ]


def test_a_missed_champion_refuses(better, make_metric):
    metric = make_metric("answer_loss", 1.4, 0.9, champion=0.8)
    assert failed(better | {"answer_loss": metric}) == ["champion_not_missed"]
    assert failed(better | {"answer_loss": metric}, GateSettings(champion_loss_regression_max=0.2)) == []


def test_refusals_that_were_not_measured_are_said_so(better):
    del better["refusals"]
    conditions = {condition.name: condition for condition in judge(better, GateSettings())}
    assert conditions["refusals_kept"].passed
    assert "not measured" in conditions["refusals_kept"].reason


def test_report_for_people_and_for_jenkins(tmp_path, make_report):
    report = make_report(ArtifactStore(str(tmp_path)), "model-1", passed=False)
    text = markdown(report)
    assert "refused" in text and "1 of 2 conditions" in text
    assert "| answer_loss | 50 | 2.000 | 1.000 | -1.000 (-1.010 … -0.990) | 1.500 |" in text
    shown = page(report)
    assert "-1.000 (-1.010 … -0.990)" in shown and "✗ answers_improve: 40 % &lt;&amp;&gt; 60 %" in shown
    suite = ElementTree.fromstring(junit_xml(report))  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.find("testcase/failure").get("message") == "40 % <&> 60 %"
