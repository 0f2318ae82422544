"""Means over cases with 95 % intervals, per kind and per category."""

from collections.abc import Sequence
from itertools import groupby

from jeeves_shared.contracts.suites import CASE_TYPES, SuiteGroup, SuiteKind, SuiteMetric, SuiteRow
from jeeves_shared.measures.bootstrap import estimate, mean_of

RESAMPLES = 2000
SEED = 17


def group_figures(rows: Sequence[SuiteRow]) -> tuple[SuiteGroup, ...]:
    """Each kind as a whole, followed by its categories if it has more than one."""
    groups: list[SuiteGroup] = []
    for kind in CASE_TYPES:
        of_kind = [row for row in rows if row.kind == kind]
        if not of_kind:
            continue
        groups.append(_group(kind, "", of_kind))
        ordered = sorted(of_kind, key=lambda row: row.category)
        parts = [(category, list(part)) for category, part in groupby(ordered, key=lambda row: row.category)]
        if len(parts) > 1:
            groups += [_group(kind, category, part) for category, part in parts]
    return tuple(groups)


def _group(kind: SuiteKind, category: str, rows: Sequence[SuiteRow]) -> SuiteGroup:
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    metrics = []
    for name in names:
        values = [row.scores[name] for row in rows if name in row.scores]
        metrics.append(
            SuiteMetric(
                name=name, cases=len(values), estimate=estimate(mean_of(values), resamples=RESAMPLES, seed=SEED)
            )
        )
    return SuiteGroup(
        kind=kind,
        category=category,
        cases=len(rows),
        errors=sum(bool(row.error) for row in rows),
        metrics=tuple(metrics),
    )


def missed_bounds(groups: Sequence[SuiteGroup], bounds: Sequence[tuple[str, str, float]]) -> tuple[str, ...]:
    """Bounds that are not met, in words.

    Args:
        groups: of a report.
        bounds: kind, metric and least value of the kind's mean; a case that could not be asked counts as 0.
    """
    missed = []
    for kind, name, least in bounds:
        group = next((group for group in groups if group.kind == kind and not group.category), None)
        metric = next((metric for metric in group.metrics if metric.name == name), None) if group else None
        if group is None or metric is None:
            missed.append(f"{kind}.{name}: there is no such figure")
            continue
        value = metric.estimate.value * metric.cases / (metric.cases + group.errors)
        if value < least:
            missed.append(f"{kind}.{name}: {value:.3f} is less than {least:g}")
    return tuple(missed)
