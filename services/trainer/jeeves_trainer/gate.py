"""The gate: may this file serve? Each condition says what it asked, what it found, and whether that is enough."""

from collections.abc import Mapping

from jeeves_shared.contracts.manifests import GateCondition, MetricComparison
from jeeves_shared.contracts.recipes import GateSettings

ANSWER_LOSS = "answer_loss"
CLOSED_BOOK_LOSS = "answer_loss_closed_book"
KEY_FACTS = "key_facts"
TOKEN_F1 = "token_f1"  # noqa: S105 - the name of a metric
REFUSALS = "refusals"
ROUGE_L = "rouge_l"
SIMILARITY = "similarity"


def judge(metrics: Mapping[str, MetricComparison], settings: GateSettings) -> tuple[GateCondition, ...]:
    """Decide every condition of the gate.

    Args:
        metrics: by name; all but refusals at least.
        settings: bounds of the recipe.

    Returns:
        All conditions; the gate is passed when each one is.
    """
    conditions = [
        _answer_loss(metrics[ANSWER_LOSS], settings),
        _not_worse(metrics[CLOSED_BOOK_LOSS]),
        _answers(metrics[TOKEN_F1], settings),
        _key_facts(metrics[KEY_FACTS], settings),
        _refusals(metrics.get(REFUSALS), settings),
    ]
    if metrics[ANSWER_LOSS].champion_difference is not None:
        conditions.append(_champion(metrics[ANSWER_LOSS], settings))
    return tuple(conditions)


def _answer_loss(metric: MetricComparison, settings: GateSettings) -> GateCondition:
    improvement = -metric.difference.value / metric.base.value
    return GateCondition(
        name="answer_loss_improves",
        passed=improvement >= settings.answer_loss_improvement_min and metric.difference.high < 0,
        reason=(
            f"answer loss {metric.base.value:.3f} → {metric.candidate.value:.3f} nats/token, {improvement:.1%} better; "
            f"asked: at least {settings.answer_loss_improvement_min:.1%}, and an interval below zero "
            f"({metric.difference.low:+.3f} … {metric.difference.high:+.3f})"
        ),
    )


def _not_worse(metric: MetricComparison) -> GateCondition:
    return GateCondition(
        name="closed_book_loss_not_worse",
        passed=metric.difference.value <= 0,
        reason=(
            f"answer loss without passages {metric.base.value:.3f} → {metric.candidate.value:.3f} nats/token; "
            "asked: not worse"
        ),
    )


def _answers(metric: MetricComparison, settings: GateSettings) -> GateCondition:
    """Token F1 decides, not key facts: who recites all of the passages names every fact and answers nothing."""
    return GateCondition(
        name="answers_improve",
        passed=metric.difference.low > settings.token_f1_improvement_min,
        reason=(
            f"answers, token F1 {metric.base.value:.1%} → {metric.candidate.value:.1%}; asked: the whole interval "
            f"({metric.difference.low:+.1%} … {metric.difference.high:+.1%}) "
            f"above {settings.token_f1_improvement_min:+.1%}"
        ),
    )


def _key_facts(metric: MetricComparison, settings: GateSettings) -> GateCondition:
    return GateCondition(
        name="key_facts_kept",
        passed=metric.difference.value >= -settings.key_facts_regression_max,
        reason=(
            f"key facts {metric.base.value:.1%} → {metric.candidate.value:.1%}; "
            f"asked: a loss of at most {settings.key_facts_regression_max:.1%}"
        ),
    )


def _refusals(metric: MetricComparison | None, settings: GateSettings) -> GateCondition:
    name = "refusals_kept"
    if metric is None:
        return GateCondition(name=name, passed=True, reason="not measured: the data set has no unanswerable question")
    return GateCondition(
        name=name,
        passed=metric.difference.value >= -settings.refusal_regression_max,
        reason=(
            f"right refusals {metric.base.value:.1%} → {metric.candidate.value:.1%}; "
            f"asked: a loss of at most {settings.refusal_regression_max:.1%}"
        ),
    )


def _champion(metric: MetricComparison, settings: GateSettings) -> GateCondition:
    difference = metric.champion_difference
    value = difference.value if difference else 0.0
    return GateCondition(
        name="champion_not_missed",
        passed=value <= settings.champion_loss_regression_max,
        reason=(
            f"answer loss {value:+.3f} nats/token against the champion; "
            f"asked: at most {settings.champion_loss_regression_max:+.3f}"
        ),
    )
