"""The gaps that stacked atrous layers leave, what they do to a field pattern, and which rates leave none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cropland.lab import sample_tile
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, quartiles

__all__ = ["atrous_gridding", "atrous_remedy"]

Rates = tuple[int, ...]
PAIRS = (((2, 2, 2), (1, 2, 3)), ((4, 4, 4), (1, 3, 8)))  # of equal field and parameters, with gaps and without
SHOWN: tuple[Rates, ...] = ((2, 2, 2), (1, 2, 3), (1, 2, 5), (4, 4, 4), (1, 3, 8))
WIDE, DENSE = PAIRS[1]
PATTERN_M = WIDE[0]  # rows of trees this far apart
PLACE = {"row": 600, "column": 370}  # a road, houses, two fields of the sample tile

LARGEST = 9  # of the rates that are tried out


def atrous_gridding(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Gaps, a field pattern; exact arithmetic, the same on every device and budget."""
    yield _gaps()
    yield _pattern()


def _gaps() -> Finding:
    first, second = PAIRS[0][0], PAIRS[1][0]
    numbers = {
        "missed": exactly(1 - reached(first)),
        "missed_four": exactly(1 - reached(second)),
        "lattices": exactly(first[0] ** 2),
        "lattices_four": exactly(second[0] ** 2),
        "shared": exactly(shared(first)),
        "shared_ordinary": exactly(shared((1, 1, 1))),
    }
    bars = {f"rates {written(rates)}": exactly(1 - reached(rates)) for rates in SHOWN}
    pictures = (
        Panels("Paths from each input pixel to the one output pixel in the middle", [reach_panel(r) for r in SHOWN]),
        Bars("Share of the field that does not reach the output", "share", bars),
    )
    return Finding("atrous_gridding.gaps", numbers, pictures)


def reach_panel(rates: Rates) -> Panel:
    """By how many paths (logarithmic) each pixel of the field reaches the output."""
    paths = paths_to(rates)
    field = np.pad(np.outer(paths, paths), max(0, (25 - len(paths)) // 2))
    picture = np.ma.filled(np.ma.log(np.ma.masked_equal(field, 0)), -1.5)  # a lone path is seen beside a gap
    return Panel(
        f"rates {written(rates)}: {100 * reached(rates):.0f} % of {len(paths)} x {len(paths)} pixels",
        heat(picture, low=-1.5, high=max(1.0, float(picture.max()))),
    )


def _pattern() -> Finding:
    """What layers of equal weights make of the tile and of stripes."""
    seen = sample_tile.grey(112 + 2 * sum(WIDE), **PLACE)
    stripes = torch.arange(seen.shape[-1]) % PATTERN_M < PATTERN_M / 2
    orchard = stripes.float().expand_as(seen)
    pictures = {rates: averaged(seen, rates) for rates in (WIDE, DENSE)}
    numbers = {
        "rough": _roughness(pictures[WIDE], pictures[DENSE]),
        "kept": exactly(contrast_kept(WIDE, PATTERN_M)),
        "kept_dense": exactly(contrast_kept(DENSE, PATTERN_M)),
        "period": exactly(PATTERN_M),
    }
    panels = [Panel("the sample tile", _grey(_inner(seen)))]
    panels += [Panel(f"averaged by rates {written(rates)}", _grey(seen)) for rates, seen in pictures.items()]
    panels += [Panel(f"rows of trees every {PATTERN_M} m", _grey(_inner(orchard)[..., :48, :48]))]
    panels += [
        Panel(f"the rows, averaged by rates {written(r)}", _grey(averaged(orchard, r)[..., :48, :48]))
        for r in (WIDE, DENSE)
    ]
    periods = [2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48]
    curves = {f"rates {written(r)}": [exactly(contrast_kept(r, p)) for p in periods] for r in (WIDE, DENSE)}
    lines = Lines(
        "What averaging leaves of stripes", "period of the stripes in metres", "share", periods, curves, log_x=True
    )
    return Finding(
        "atrous_gridding.pattern", numbers, [Panels("Two stacks of equal field over a field pattern", panels), lines]
    )


def averaged(image: Tensor, rates: Rates) -> Tensor:
    """One atrous layer of nine equal weights per rate, without its border: what is left if the weights are smooth."""
    kernel = torch.full((1, 1, 3, 3), 1 / 9)
    return reduce(lambda seen, rate: F.conv2d(seen, kernel, dilation=rate), rates, image)


def contrast_kept(rates: Rates, period: float) -> float:
    """The share of a sine wave's contrast that `averaged` leaves: product of (1 + 2 cos(2 pi rate / period)) / 3."""
    return abs(math.prod((1 + 2 * math.cos(2 * math.pi * rate / period)) / 3 for rate in rates))


def _roughness(rough: Tensor, smooth: Tensor) -> Number:
    """Mean difference between neighbouring pixels, of one picture in units of the other's; quartiles over 16 parts."""
    parts = [F.avg_pool2d((p[..., 1:] - p[..., :-1]).abs(), p.shape[-1] // 4) for p in (rough, smooth)]
    return quartiles((parts[0] / parts[1]).flatten().tolist())


def _inner(image: Tensor) -> Tensor:
    edge = sum(WIDE)
    return image[..., edge:-edge, edge:-edge]


def _grey(image: Tensor) -> str:
    return heat(image[0, 0].numpy(), low=0, high=max(0.8, float(image.max())), colours="gray")


def paths_to(rates: Sequence[int]) -> np.ndarray:
    """In how many ways each input column reaches the middle output column; rows likewise, a pixel by the product."""
    paths: np.ndarray = reduce(lambda seen, rate: np.convolve(seen, _taps(rate)), rates, np.ones(1, int))
    return paths


def _taps(rate: int) -> np.ndarray:
    return np.where(np.arange(2 * rate + 1) % rate, 0, 1)


def reached(rates: Sequence[int]) -> float:
    """The share of the field's pixels that reach the output."""
    return float((paths_to(rates) > 0).mean() ** 2)


def shared(rates: Sequence[int]) -> float:
    """The share of its input pixels that an output pixel has in common with its neighbour on the right."""
    seen = paths_to(rates) > 0
    return float((seen[1:] & seen[:-1]).sum() / seen.sum())


def written(rates: Sequence[int]) -> str:
    """2-2-2."""
    return "-".join(map(str, rates))


def atrous_remedy(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Every triple of rates tried; exact arithmetic, the same on every device and budget."""
    yield _factor()


def _factor() -> Finding:
    tried = list(combinations_with_replacement(range(1, LARGEST + 1), 3))
    coprime = [rates for rates in tried if math.gcd(*rates) == 1]
    common = [rates for rates in tried if math.gcd(*rates) > 1]
    ruled = [rates for rates in tried if rule(rates)]
    numbers = {
        "filled": exactly(_filled(coprime)),
        "common": exactly(_filled(common)),
        "ruled": exactly(_filled(ruled)),
        "others": exactly(_filled([rates for rates in tried if not rule(rates)])),
        "triples": exactly(len(coprime)),
    }
    bars = {
        "with a common factor": numbers["common"],
        "without a common factor": numbers["filled"],
        "first rate 1, each next at most twice the sum so far plus 1": numbers["ruled"],
    }
    panels = [reach_panel(rates) for rates in ((3, 4, 5), (1, 2, 9), (1, 2, 5), (1, 3, 9))]
    pictures = (
        Bars("Share of the triples of rates that leave no gap", "share", bars),
        Panels("Four triples without a common factor", panels),
    )
    return Finding("atrous_remedy.factor", numbers, pictures)


def rule(rates: Sequence[int]) -> bool:
    """Whether the sorted rates begin at 1 and none is more than twice the sum of those before it, plus 1.

    Then, and only then, sums of -1, 0 or 1 times each rate reach every whole number up to their sum: a gap would lie
    below the first sum that the next rate adds. Stricter than a common factor, which Wang et al. 2018 forbid
    (arXiv:1702.08502).
    """
    return all(rate <= 2 * sum(sorted(rates)[:n]) + 1 for n, rate in enumerate(sorted(rates)))


def _filled(triples: Sequence[Rates]) -> float:
    return float(np.mean([reached(rates) == 1 for rates in triples]))
