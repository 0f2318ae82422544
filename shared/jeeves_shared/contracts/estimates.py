"""Figures with their intervals."""

from jeeves_shared.contracts.base import Contract


class Estimate(Contract):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float
