"""How often the 95 % intervals of `cropland area` hold the truth, on simulated maps whose truth is known.

    python benchmarks/area.py [MAPS]

Truth is a smooth random field above a level, as fields that cover a few or half of the land. A map is the truth with
three kinds of errors: edges that are off by some pixels, whole fields that are missed or invented, and single pixels.
Samples are allocated as `area design` does, and figures are those of `area estimate`. MAPS (1000) maps are made for
every setting, each with a sample of its own. Takes some minutes.
"""

import sys
from itertools import product
from math import sqrt

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from cropland.sampling.allocation import allocate
from cropland.sampling.estimate import figures
from cropland.sampling.estimator import StratifiedSample

SIZE = 256  # pixels along the edge of a map
COMMON, RARE = 0.45, 0.04  # share of cropland
SETTINGS = [*product((COMMON, RARE), (100, 300, 1000), ("mask", "edge"))]
NAMES = ("share", "overall", "user", "producer")
EDGE = 2.5  # pixels from a centre to those of the other class


def field(rng: np.random.Generator, *, smooth: float, share: float) -> np.ndarray:
    """Blobs that cover a share of the ground."""
    values = gaussian_filter(rng.normal(size=(SIZE, SIZE)), smooth, mode="wrap")
    return values > np.quantile(values, 1 - share)


def mapped(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """A map of the truth: errors along edges, in whole blobs, and of single pixels, each of a strength of its own."""
    off, missed, invented, noise = rng.uniform(0, 1, 4)
    inside = np.where(truth, distance_transform_edt(truth), -distance_transform_edt(~truth))
    found = inside + 3 * off * rng.normal() + 3 * off * 4 * gaussian_filter(rng.normal(size=truth.shape), 4) > 0
    found &= ~field(rng, smooth=6, share=0.15 * missed + 1e-3)
    found |= field(rng, smooth=6, share=0.03 * invented * truth.mean() / 0.2 + 1e-4)
    return found ^ (rng.random(truth.shape) < 0.01 * noise)


def strata_of(found: np.ndarray, kind: str) -> np.ndarray:
    """As `cropland.sampling.strata` has them; a whole map fits in memory here."""
    if kind == "mask":
        return found.astype(np.int64)
    near = (distance_transform_edt(found) if found.any() else 99) * found
    near = near + (distance_transform_edt(~found) if not found.all() else 99) * ~found
    return np.where(near <= EDGE, 1, 2 * found)


def truths(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The figures of the whole population."""
    both = (truth & found).mean()
    return {
        "share": truth.mean(),
        "overall": (truth == found).mean(),
        "user": both / found.mean() if found.any() else np.nan,
        "producer": both / truth.mean(),
    }


def held(rng: np.random.Generator, setting: tuple[float, int, str]) -> tuple[list[float], list[float]]:
    """Of one map and sample: whether each interval holds the truth, and its half width; nan where there is none."""
    share, n, kind = setting
    truth = field(rng, smooth=5, share=share)
    found = mapped(rng, truth)
    stratum = strata_of(found, kind).ravel()
    pixels = np.bincount(stratum, minlength=3 if kind == "edge" else 2)
    counts = allocate(n, weights=pixels / pixels.sum(), pixels=pixels, least=50)
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(stratum == h), count, replace=False) for h, count in enumerate(counts)]
    )
    sample = StratifiedSample(stratum[chosen], pixels.astype(float), pixels)
    its, _ = figures(found.ravel()[chosen].astype(int), truth.ravel()[chosen].astype(int), sample)
    right, width = [], []
    for name, true in truths(truth, found).items():
        low, high = its[name].interval
        right.append(np.nan if np.isnan(high + true) else float(low <= true <= high))
        width.append((high - low) / 2)
    return right, width


def main(maps: int) -> None:
    """Print a table of coverage and half width, per setting and over all."""
    rng, every = np.random.default_rng(0), []
    print(f"share of 95 % intervals that hold the truth, in percent, and half width; {maps} maps per setting")
    print(f"{'cropland':>9} {'points':>7} {'strata':>7}   " + "   ".join(f"{name:>16}" for name in NAMES))
    for setting in SETTINGS:
        results = [held(rng, setting) for _ in range(maps)]
        right, width = (np.array([each[at] for each in results]) for at in (0, 1))
        every.append(right)
        means = np.nanmean([right, width], axis=1).T
        cells = [f"{100 * rate:7.1f}  ±{100 * half:6.2f}" for rate, half in means]
        print(f"{setting[0]:9.2f} {setting[1]:7d} {setting[2]:>7}   " + "   ".join(cells), flush=True)
    whole = np.concatenate(every)
    cells = [f"{100 * mean:7.1f}  ±{196 * sqrt(mean * (1 - mean) / len(whole)):6.2f}" for mean in np.nanmean(whole, 0)]
    print(f"{'all':>9} {'':7} {'':7}   " + "   ".join(cells) + "   (± of the share itself)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
