"""Shares and ratios from a stratified random sample, with their standard errors.

For strata that need not be the classes of the map: every figure is a mean of an indicator y over the ground, or a ratio
of two such means. Where the strata are the map classes, they are the estimators of Olofsson et al.

Stehman (2014), doi:10.1080/01431161.2014.930207; Olofsson et al. (2014), doi:10.1016/j.rse.2014.02.015, eq. 5 to 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from jaxtyping import Float64, Int64

from cropland.sampling.allocation import Z

__all__ = ["Figure", "StratifiedSample", "mean", "ratio"]

Values = Float64[np.ndarray, " point"]
SAME = 1e-12  # differences of indicators below this are rounding


@dataclass(frozen=True)
class Figure:
    """An estimate with its standard error; both are nan where they cannot be known."""

    value: float
    se: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of a share, value ± 1.96 se, cut at 0 and 1."""
        return max(0.0, self.value - Z * self.se), min(1.0, self.value + Z * self.se)


@dataclass(frozen=True, eq=False)
class StratifiedSample:
    """The stratum of every point that has an answer, and the size of each stratum.

    area: in any unit; only shares of it are used. pixels: N_h, for the finite population.
    """

    stratum: Int64[np.ndarray, " point"]
    area: Float64[np.ndarray, " stratum"]
    pixels: Int64[np.ndarray, " stratum"]

    @property
    def weights(self) -> Float64[np.ndarray, " stratum"]:
        """W_h, the share of each stratum in the area."""
        weights: Float64[np.ndarray, " stratum"] = self.area / self.area.sum()
        return weights

    @property
    def counts(self) -> Int64[np.ndarray, " stratum"]:
        """n_h, the points of each stratum."""
        return np.bincount(self.stratum, minlength=len(self.area))


def mean(y: Values, sample: StratifiedSample, *, otherwise: Values | None = None) -> Figure:
    """The mean of an indicator over the ground, such as the share of a class, or the overall accuracy.

    y: of every point. otherwise: what y of a point would be if its answer had been the other one; see `_variance`.
        mean = sum_h W_h mean(y)_h        variance = sum_h W_h^2 (1 - n_h / N_h) s^2(y)_h / n_h
    nan if a stratum has no point; its standard error is nan if a stratum has only one.
    Source: Stehman (2014), eq. 3, 25 and 26, in shares of the area.
    """
    value = _total(y, sample)
    return Figure(value, sqrt(_variance(y, sample, otherwise)))


def ratio(
    y: Values,
    x: Values,
    sample: StratifiedSample,
    *,
    otherwise: tuple[Values, Values] | None = None,
) -> Figure:
    """The ratio of two means, such as user's accuracy (y: right, x: mapped) or producer's (y: right, x: reference).

    otherwise: y and x of each point if its answer had been the other one.
        R = mean(y) / mean(x)
        variance = sum_h W_h^2 (1 - n_h / N_h) (s^2(y) + R^2 s^2(x) - 2 R s(x, y))_h / n_h / mean(x)^2
    which is the variance of the mean of y - R x. nan where the mean of x is 0.
    Source: Stehman (2014), eq. 27 and 28.
    """
    below = _total(x, sample)
    if not below > 0:
        return Figure(nan, nan)
    value = _total(y, sample) / below
    other = None if otherwise is None else otherwise[0] - value * otherwise[1]
    return Figure(value, sqrt(_variance(y - value * x, sample, other)) / below)


def _total(y: Values, sample: StratifiedSample) -> float:
    some = sample.area > 0
    sums = np.bincount(sample.stratum, y, minlength=len(sample.area))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((sample.weights * sums / sample.counts)[some].sum())


def _variance(y: Values, sample: StratifiedSample, otherwise: Values | None) -> float:
    """The variance of the mean of y.

    Where all points of a stratum whose y depends on the answer have the same y, no other answer was seen, which does
    not mean that there is none. If `otherwise` says what y had been with the other answer, the share of other answers
    among the k such points is then taken to be as large as it can well be, the upper limit of Wilson's interval for 0
    of k, so that the interval of the stratum reaches as far as his:
        s^2(y)_h + q (1 - q) sum(otherwise - y)^2 / n_h        with q = z^2 / (k + z^2)
    Nothing is added where y does not depend on the answer, as that of a user's accuracy outside of what is mapped.
    Source: Wilson (1927), doi:10.1080/01621459.1927.10502953; Brown, Cai and DasGupta (2001),
    doi:10.1214/ss/1009213286.
    """
    variance = 0.0
    for h, (weight, size, n) in enumerate(zip(sample.weights, sample.pixels, sample.counts, strict=True)):
        if not weight > 0 or n == size:
            continue
        if n < 2:
            return nan
        here = y[sample.stratum == h]
        spread = float(here.var(ddof=1))
        if otherwise is not None:
            step = otherwise[sample.stratum == h] - here
            matters = np.abs(step) > SAME
            if matters.any() and np.ptp(here[matters]) < SAME:
                q = Z**2 / (int(matters.sum()) + Z**2)
                spread += q * (1 - q) * float((step**2).mean())
        variance += weight**2 * (1 - n / size) * spread / n
    return variance
