"""How well the size of a field is read from several rates side by side, and from one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.experiments.atrous_scales import RATES, WIDEST, branches
from cropland.lab.measure import Budget, mean_of_seeds

__all__ = ["atrous_together"]

DRAWN, CHANNELS = 400, 16  # fields to learn from; channels of a branch, enough random features for a linear join
NOISE = 0.1  # of the contrast between field and ground
SIZES_M = (4.0, 96.0)


def atrous_together(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The size read from all rates together."""
    yield _size(device, budget)


def _size(device: torch.device, budget: Budget) -> Finding:
    """How well the best 1 x 1 join reads the size of the field around a pixel, from pyramids of equal parameters."""
    kinds = {
        f"rates {', '.join(map(str, rates))}": rates for rates in (RATES, *((rate,) * len(RATES) for rate in RATES))
    }
    told = {name: [_told(rates, seed, device) for seed in range(budget.rounds)] for name, rates in kinds.items()}
    bars = {name: mean_of_seeds(each) for name, each in told.items()}
    parallel, *alike = told.values()
    best = max(alike, key=lambda each: sum(each))
    numbers = {
        "told": mean_of_seeds(parallel),
        "best": mean_of_seeds(best),
        "gain": mean_of_seeds([a - b for a, b in zip(parallel, best, strict=True)]),
    }
    chart = Bars("How much of the difference in field size is told", "share of the variance", bars)
    return Finding("atrous_together.size", numbers, [chart])


def _told(rates: Sequence[int], seed: int, device: torch.device) -> float:
    """R^2 of log size on fields that the join did not learn from; the same fields for all pyramids of a seed."""
    draw = torch.Generator().manual_seed(seed)
    known, new = (fields(DRAWN, draw) for _ in range(2))
    torch.manual_seed(seed)
    eyes = branches(rates, CHANNELS, device, alike=False)
    (x, y), (x_new, y_new) = ((_middles(eyes, rates, images), sizes) for images, sizes in (known, new))
    weights = torch.linalg.lstsq(x, y[:, None]).solution
    return float(1 - (x_new @ weights - y_new[:, None]).square().mean() / y_new.var(unbiased=False))


def fields(number: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (number, 1, edge, edge) whose middle pixel lies somewhere in a bright square, and the log of its edge."""
    low, high = np.log(SIZES_M)
    edges = (low + (high - low) * torch.rand(number, generator=draw)).exp().round()
    starts = -(torch.rand(2, number, generator=draw) * edges).floor()
    place = torch.arange(-WIDEST, WIDEST + 1)
    rows, columns = ((place >= s[:, None]) & (place < s[:, None] + edges[:, None]) for s in starts)
    image = (rows[:, :, None] & columns[:, None, :]).float()
    return (image + NOISE * torch.randn(image.shape, generator=draw))[:, None], edges.log().double()


@torch.no_grad()
def _middles(eyes: Sequence[nn.Module], rates: Sequence[int], images: Tensor) -> Tensor:
    """What all branches say of the middle pixel, and a one: (number, branches * channels + 1)."""
    device = next(eyes[0].parameters()).device
    near = (images[..., WIDEST - r : WIDEST + r + 1, WIDEST - r : WIDEST + r + 1].to(device) for r in rates)
    seen = [eye(image)[:, :, r, r].cpu() for eye, image, r in zip(eyes, near, rates, strict=True)]
    return torch.cat([*seen, torch.ones(len(images), 1)], 1).double()
