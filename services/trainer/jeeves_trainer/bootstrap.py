"""Confidence intervals for paired comparisons on the same samples.

Source: Efron, Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile interval).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jeeves_shared.contracts.manifests import Estimate, MetricComparison

Floats = npt.NDArray[np.float64]
_INTERVAL_PERCENT = (2.5, 97.5)


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


def mean_of(values: list[float]) -> Measured:
    """A plain mean over samples."""
    return Measured(np.asarray(values, dtype=np.float64), np.ones(len(values)))


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
    count = len(base.numerators)
    draws = np.random.default_rng(seed).integers(0, count, size=(resamples, count))
    resampled = {"base": base.resampled(draws), "candidate": candidate.resampled(draws)}
    champion_resampled = None if champion is None else champion.resampled(draws)
    return MetricComparison(
        name=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        samples=count,
        base=_estimate(base.value, resampled["base"]),
        candidate=_estimate(candidate.value, resampled["candidate"]),
        difference=_estimate(candidate.value - base.value, resampled["candidate"] - resampled["base"]),
        champion=None
        if champion is None or champion_resampled is None
        else _estimate(champion.value, champion_resampled),
        champion_difference=None
        if champion is None or champion_resampled is None
        else _estimate(candidate.value - champion.value, resampled["candidate"] - champion_resampled),
    )


def _estimate(value: float, resampled: Floats) -> Estimate:
    low, high = np.percentile(resampled, _INTERVAL_PERCENT)
    return Estimate(value=value, low=float(low), high=float(high))
