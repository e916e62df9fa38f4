"""How many points a sample needs, and how many of them each stratum gets."""

from __future__ import annotations

from bisect import bisect_left
from math import ceil, sqrt

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import brentq

__all__ = ["Z", "allocate", "anticipated_error", "points_for_margin", "sample_size"]

Z = 1.959963984540054  # of the standard normal distribution, for 95 %


def sample_size(
    weights: Float64[np.ndarray, " stratum"], shares: Float64[np.ndarray, " stratum"], *, standard_error: float
) -> int:
    """The size of a sample under optimal allocation, no matter how large the population is.

    weights: W_h, shares of the area, which add up to 1. shares: anticipated p_h of a stratum (0..1) that are counted.
        n = (sum_h W_h S_h)^2 / S(O)^2    with S_h = sqrt(p_h (1 - p_h))
    Source: Cochran (1977), Sampling Techniques, eq. 5.25; Olofsson et al. (2014), eq. 13,
    doi:10.1016/j.rse.2014.02.015.
    """
    return ceil((float(weights @ np.sqrt(shares * (1 - shares))) / standard_error) ** 2)


def anticipated_error(
    counts: Int64[np.ndarray, " stratum"],
    *,
    weights: Float64[np.ndarray, " stratum"],
    shares: Float64[np.ndarray, " stratum"],
    pixels: Int64[np.ndarray, " stratum"],
) -> float:
    """The standard error of a share that a stratified sample of these counts will have if p_h are as anticipated.

        S = sqrt(sum_h W_h^2 (1 - n_h / N_h) p_h (1 - p_h) / n_h)
    Infinite where a stratum that is not empty gets no point. Source: Cochran (1977), eq. 5.12.
    """
    some = pixels > 0
    n, size = counts[some], pixels[some]
    if not n.all():
        return np.inf
    variance = weights[some] ** 2 * (1 - n / size) * shares[some] * (1 - shares[some]) / n
    return sqrt(float(variance.sum()))


def points_for_margin(
    margin: float,
    *,
    weights: Float64[np.ndarray, " stratum"],
    shares: Float64[np.ndarray, " stratum"],
    pixels: Int64[np.ndarray, " stratum"],
    least: int,
) -> int:
    """The fewest points whose 95 % interval is anticipated to be at most `margin` wide on either side.

    margin: of the share of the mapped ground, 0..1. The points are allocated as `allocate` does.
    """

    def is_enough(n: int) -> bool:
        counts = allocate(n, weights=weights, pixels=pixels, least=least)
        return Z * anticipated_error(counts, weights=weights, shares=shares, pixels=pixels) <= margin

    strata = int((pixels > 0).sum())
    return bisect_left(range(int(pixels.sum())), True, lo=2 * strata, key=is_enough)


def allocate(
    n: int, *, weights: Float64[np.ndarray, " stratum"], pixels: Int64[np.ndarray, " stratum"], least: int
) -> Int64[np.ndarray, " stratum"]:
    """The points of each stratum: at least `least`, the rest in proportion to area, never more than there are pixels.

    Where `least` is more than half of an equal share, it is half of that; it is two where there are as many, since a
    variance needs two. An empty stratum gets none.
    Source: Olofsson et al. (2014), section 5.1.2, doi:10.1016/j.rse.2014.02.015.
    """
    strata = int((pixels > 0).sum())
    floor = max(min(2, n // strata), min(least, n // (2 * strata)))
    low, high = np.minimum(floor, pixels), pixels
    if n >= high.sum():
        return np.array(high, np.int64)

    def beyond(density: float) -> float:
        return float(np.clip(density * weights, low, high).sum() - n)

    some = weights > 0
    wanted = np.clip(brentq(beyond, 0, float((high[some] / weights[some]).max())) * weights, low, high)
    counts: Int64[np.ndarray, " stratum"] = np.floor(wanted + 1e-9).astype(np.int64)
    missing = n - int(counts.sum())
    fractions = np.where(counts < high, wanted - counts, -1)
    counts[np.argsort(-fractions, kind="stable")[:missing]] += 1
    return counts
