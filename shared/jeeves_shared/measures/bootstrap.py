"""Confidence intervals of means and ratios, and of paired comparisons on the same samples.

Source: Efron, Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile interval).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jeeves_shared.contracts.estimates import Estimate
from jeeves_shared.contracts.manifests import MetricComparison

Floats = npt.NDArray[np.float64]
_INTERVAL_PERCENT = (2.5, 97.5)
CHUNK_DRAWS = 4_000_000
"""Draws at a time: 32 MB of indices, whatever the number of samples."""


@dataclass(frozen=True)
class Measured:
    """One metric of one file: a ratio of sums over samples.

    Attributes:
        numerators: per sample, such as nats or a share.
        weights: per sample, such as answer tokens; ones for a plain mean. Shape as `numerators`.
    """

    numerators: Floats
    weights: Floats

    @property
    def value(self) -> float:
        """Sum of numerators over sum of weights."""
        return float(self.numerators.sum() / self.weights.sum())

    def resampled(self, draws: npt.NDArray[np.int64]) -> Floats:
        """The value on each resample; `draws` has shape (resamples, samples)."""
        ratio: Floats = self.numerators[draws].sum(axis=1) / self.weights[draws].sum(axis=1)
        return ratio


def mean_of(values: Sequence[float]) -> Measured:
    """A plain mean over samples."""
    return Measured(np.asarray(values, dtype=np.float64), np.ones(len(values)))


def estimate(measured: Measured, *, resamples: int, seed: int) -> Estimate:
    """The value and the middle 95 % of its resamples.

    Args:
        measured: at least one sample.
        resamples: number of bootstrap resamples, at least 40.
        seed: of the resampling.
    """
    (resampled,) = resample([measured], resamples, seed)
    return _estimate(measured.value, resampled)


@dataclass(frozen=True)
class MetricName:
    """What a metric is called and how it is read."""

    name: str
    unit: str
    higher_is_better: bool


def compare(
    metric: MetricName,
    base: Measured,
    candidate: Measured,
    champion: Measured | None,
    *,
    resamples: int,
    seed: int,
) -> MetricComparison:
    """Compare files on the same samples, which are resampled together.

    Args:
        metric: its name.
        base: figures of the untouched base; at least one sample.
        candidate: on the same samples in the same order.
        champion: likewise; None if there is none.
        resamples: number of bootstrap resamples.
        seed: of the resampling.
    """
    of_base, of_candidate, *others = resample(
        [base, candidate, *([] if champion is None else [champion])], resamples, seed
    )
    of_champion = others[0] if others else None
    return MetricComparison(
        name=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        samples=len(base.numerators),
        base=_estimate(base.value, of_base),
        candidate=_estimate(candidate.value, of_candidate),
        difference=_estimate(candidate.value - base.value, of_candidate - of_base),
        champion=None if champion is None or of_champion is None else _estimate(champion.value, of_champion),
        champion_difference=None
        if champion is None or of_champion is None
        else _estimate(candidate.value - champion.value, of_candidate - of_champion),
    )


def resample(measured: Sequence[Measured], resamples: int, seed: int, chunk_draws: int = CHUNK_DRAWS) -> list[Floats]:
    """Values of each on the same resamples.

    Args:
        measured: on the same samples in the same order; at least one.
        resamples: number of bootstrap resamples.
        seed: of the resampling.
        chunk_draws: draws at a time; the result does not depend on it.

    Returns:
        For each, shape (resamples,).
    """
    count = len(measured[0].numerators)
    rng = np.random.default_rng(seed)
    rows = max(1, chunk_draws // count)
    parts: list[list[Floats]] = [[] for _ in measured]
    for start in range(0, resamples, rows):
        draws = rng.integers(0, count, size=(min(rows, resamples - start), count))
        for part, one in zip(parts, measured, strict=True):
            part.append(one.resampled(draws))
    return [np.concatenate(part) for part in parts]


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.percentile(resampled, _INTERVAL_PERCENT)
    return Estimate(value=value, low=float(low), high=float(high))
