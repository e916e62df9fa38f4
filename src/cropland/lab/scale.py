"""From values to places on an axis, linear or logarithmic, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A value `low` lies at place `start`, `high` at `stop`."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; beyond the ends it stays at them."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, max(value, self._least)))
        share = (value - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.stop - self.start)

    @property
    def _least(self) -> float:
        return self.low if self.log else -math.inf


def scale_of(values: Iterable[float], start: float, stop: float, *, log: bool) -> Scale:
    """An axis that holds the values, between round numbers."""
    known = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        low, high = (low, high) if high > low else (low / 2, high * 2)
        return Scale(low, high, start, stop, _log_ticks(low, high), log=True)
    step = _round_step((high - low) or abs(high) or 1.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return Scale(first * step, last * step, start, stop, tuple(n * step for n in range(first, last + 1)))


def _round_step(span: float, *, parts: int = 5) -> float:
    """The smallest of 1, 2, 5 x 10^n that cuts the span into few parts."""
    power = 10.0 ** math.floor(math.log10(span / parts))
    return next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= parts)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = math.log10(high / low)
    factors = (1, 1.5, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades <= 2.5 else (1,)
    ticks = tuple(f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001)
    return ticks if len(ticks) > 1 else (low, high)
