"""A measured number: its value, and the interval it lies in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Number:
    """A value with an interval: the quartiles of repeats, or the 95 % interval of a mean over seeds.

    As text `f"{number}"` has three digits and the interval, `f"{number:value}"` no interval, `f"{number:%}"` is in
    percent, `f"{number:d}"` a whole count with separators.
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        write = _percent if spec == "%" else _count if spec == "d" else _three_digits
        if spec in ("d", "value") or math.isclose(self.low, self.high, rel_tol=1e-9):
            return write(self.value)
        return f"{write(self.value)} ({write(self.low)} – {write(self.high)})"

    def times(self, factor: float) -> Number:
        """The same in another unit."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Number(self.value * factor, low, high)


def exactly(value: float) -> Number:
    """A number without spread: a count, or the outcome of exact arithmetic."""
    return Number(float(value), float(value), float(value))


def quartiles(samples: Iterable[float]) -> Number:
    """The median of repeats, and their quartiles."""
    low, middle, high = np.quantile(np.fromiter(samples, float), (0.25, 0.5, 0.75))
    return Number(float(middle), float(low), float(high))


def mean_of_seeds(samples: Sequence[float]) -> Number:
    """The mean over seeds with its 95 % interval (Student 1908, doi:10.1093/biomet/6.1.1); one seed has no bound."""
    if len(samples) < 2:
        return Number(samples[0], -math.inf, math.inf)
    half = float(student.ppf(0.975, len(samples) - 1)) * stdev(samples) / math.sqrt(len(samples))
    return Number(fmean(samples), fmean(samples) - half, fmean(samples) + half)


def _three_digits(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "–")
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        return f"{value:,.{digits}f}".replace("-", "−")
    return f"{value:.1e}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{_three_digits(100 * value)} %"


def _count(value: float) -> str:
    return f"{round(value):,}"
