"""Which rates of stacked atrous layers leave no gap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
import torch

from cropland.lab.charts import Bars, Panels
from cropland.lab.claim import Finding
from cropland.lab.experiments.atrous_gridding import Rates, reach_panel, reached
from cropland.lab.measure import Budget, exactly

__all__ = ["atrous_remedy"]

LARGEST = 9  # of the rates that are tried out


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
