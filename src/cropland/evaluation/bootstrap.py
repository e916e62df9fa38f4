"""Intervals by the bootstrap over blocks of ground, of figures and of differences of figures.

Blocks are drawn with replacement, as many as there are, never pixels: neighbouring pixels err together, so that they
are no independent draws. Efron (1979), doi:10.1214/aos/1176344552; in blocks Hall (1985),
doi:10.1016/0304-4149(85)90212-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Float64

__all__ = ["Interval", "Rates", "differences", "intervals"]

DRAWS = 2000
AT_ONCE = 1 << 24  # counts of draws and blocks in memory
LOW, HIGH = 2.5, 97.5  # percentiles between which an interval lies
LEAST = 0.5  # share of the draws in which a figure is defined, below which it has no interval

Interval = list[float]  # its lower and upper end
Sums = Float64[np.ndarray, "block column"]
Rates = Callable[[Float64[np.ndarray, "draw column"]], Mapping[str, Float64[np.ndarray, " draw"]]]


def intervals(blocks: Sums, rates: Rates) -> dict[str, Interval | None]:
    """The 95 % interval of every figure: the percentiles 2.5 and 97.5 over 2,000 draws.

    blocks: sums of each block, such that those of several blocks add up. rates: the figures by name from sums. A figure
    has no interval (None) with fewer than two blocks, or if it is undefined in more than half of the draws.
    """
    return {name: _interval(values) for name, values in _drawn(rates, blocks).items()}


def differences(first: Sums, second: Sums, rates: Rates) -> dict[str, Interval | None]:
    """The 95 % interval of every figure of the first less that of the second, on the same draws of the same blocks.

    Both have the same blocks in the same order, so what makes a block hard for both cancels out.
    """
    drawn = _drawn(rates, first, second)
    return {name: _interval(values) for name, values in drawn.items()}


def _drawn(rates: Rates, *sides: Sums) -> dict[str, Float64[np.ndarray, " draw"]]:
    """Every figure in each draw; of two sides, the difference."""
    parts = []
    for times in _times(len(sides[0])):
        first, *others = (rates(times @ side) for side in sides)
        parts.append({name: values - others[0][name] if others else values for name, values in first.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _times(blocks: int) -> Iterator[Float64[np.ndarray, "draw block"]]:
    """How many times each block is drawn, for some draws at a time; always the same draws for as many blocks."""
    if blocks < 2:
        return
    random, equal = np.random.default_rng(0), np.full(blocks, 1 / blocks)
    step = max(1, AT_ONCE // blocks)
    for start in range(0, DRAWS, step):
        yield random.multinomial(blocks, equal, min(step, DRAWS - start)).astype(np.float64)


def _interval(values: Float64[np.ndarray, " draw"]) -> Interval | None:
    known = values[np.isfinite(values)]
    if len(known) < LEAST * len(values):
        return None
    low, high = np.percentile(known, (LOW, HIGH))
    return [float(low), float(high)]
