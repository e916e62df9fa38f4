"""One input seen at several scales by parallel rates: what each rate answers to fields of known size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.pyramid import Pyramid
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly

__all__ = ["atrous_scales"]

RATES = (3, 6, 12, 24)  # pixels of 1 m
WIDEST = max(RATES)
MIDDLE = RATES[2]
SQUARES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)  # edges in metres
STRIPES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 72, 96)  # widths in metres


def atrous_scales(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Single squares, stripes."""
    yield _larger(device, budget)
    yield _own(device, budget)


def branches(rates: Sequence[int], channels: int, device: torch.device, *, alike: bool) -> list[nn.Module]:
    """The branches of a pyramid over one channel; flat ground gives nothing, unrelated pixels the same at every rate.

    `alike`: all with the same random weights, so that rates are compared and not draws.
    """
    pyramid = Pyramid(1, channels, rates=rates).to(device).eval()
    weights = torch.randn(len(rates), channels, 1, 3, 3)
    weights = (weights[:1] if alike else weights).expand_as(weights)
    weights = weights - weights.mean((3, 4), keepdim=True)
    for branch, weight in zip(pyramid.branches, weights / weights.norm(dim=(3, 4), keepdim=True), strict=True):
        branch.get_submodule("convolution").load_state_dict({"weight": weight})
    return list(pyramid.branches)


@torch.no_grad()
def answer(branch: nn.Module, image: Tensor) -> Tensor:
    """Root mean square over the channels of what a branch makes of (1, 1, height, width): (height, width)."""
    device = next(branch.parameters()).device
    seen: Tensor = branch(image.to(device))[0].square().mean(0).sqrt().cpu()
    return seen


def _larger(device: torch.device, budget: Budget) -> Finding:
    eyes = branches(RATES, budget.channels, device, alike=True)
    edges = budget.sweep(SQUARES)
    found = np.array([[to_square(branch, edge) for edge in edges] for branch in eyes])
    limits = [last_above(edges, curve, float(curve.max()) / 2) for curve in found]
    numbers = {
        "slope": exactly(float(np.polyfit(np.log(RATES), np.log(limits), 1)[0])),
        "limit_first": exactly(limits[0]),
        "limit_last": exactly(limits[-1]),
        "rate_first": exactly(RATES[0]),
        "rate_last": exactly(RATES[-1]),
    }
    curves = {f"rate {rate}": list(map(exactly, curve)) for rate, curve in zip(RATES, found, strict=True)}
    x = "edge of a square field in metres"
    lines = Lines("What each rate answers within one field on bare ground", x, "answer", edges, curves, log_x=True)
    return Finding("atrous_scales.larger", numbers, [lines])


def to_square(branch: nn.Module, edge: int) -> float:
    """Mean answer over the pixels of one bright square on dark ground."""
    image = F.pad(torch.ones(1, 1, edge, edge), (WIDEST,) * 4)
    return float(answer(branch, image)[WIDEST:-WIDEST, WIDEST:-WIDEST].mean())


def to_stripes(branch: nn.Module, width: int) -> float:
    """Root mean square answer to stripes of this width and as wide gaps, away from the image's edge."""
    columns = torch.arange(2 * WIDEST + 8 * width) // width % 2
    image = columns.float().expand(1, 1, 2 * WIDEST + 1, -1)
    return float(answer(branch, image)[WIDEST, WIDEST:-WIDEST].square().mean().sqrt())


def last_above(places: Sequence[float], values: np.ndarray, level: float) -> float:
    """Where the curve falls below a level for good, on a logarithmic axis; the last place if it does not."""
    last = int(np.flatnonzero(values >= level)[-1])
    if last == len(places) - 1:
        return float(places[-1])
    share = (values[last] - level) / (values[last] - values[last + 1])
    return float(places[last] * (places[last + 1] / places[last]) ** share)


def _own(device: torch.device, budget: Budget) -> Finding:
    eyes = dict(zip(RATES, branches(RATES, budget.channels, device, alike=True), strict=True))
    eye, widths = eyes[MIDDLE], STRIPES
    square, stripe = to_square(eye, MIDDLE), to_stripes(eye, MIDDLE)
    shares = {
        "smaller": to_square(eye, MIDDLE // 4) / square,
        "larger": to_square(eye, MIDDLE * 4) / square,
        "third": to_stripes(eye, MIDDLE // 3) / stripe,
        "half": to_stripes(eye, MIDDLE // 2) / stripe,
    }
    numbers = {name: exactly(round(share, 6)) for name, share in shares.items()}
    numbers |= {"others": exactly(max(shares.values())), "rate": exactly(MIDDLE)}
    curves = {f"rate {rate}": [exactly(to_stripes(eye, w)) for w in widths] for rate, eye in eyes.items()}
    x = "width of the stripes in metres"
    lines = Lines("What each rate answers to stripes", x, "answer", widths, curves, log_x=True)
    return Finding("atrous_scales.own", numbers, [lines])
