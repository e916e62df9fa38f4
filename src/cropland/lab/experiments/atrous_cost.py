"""What spreading the taps of a convolution costs: pixels of the output, and time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cropland.blocks.atrous import Atrous
from cropland.blocks.separable import Separable
from cropland.blocks.strided import strided
from cropland.demo import TILE
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.lab.charts import Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, interleave, ratio
from cropland.training.device import place_network

__all__ = ["atrous_cost"]

RATE = 4  # of the picture that is taken apart


def atrous_cost(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Size of the output, time."""
    yield _shape(device)
    yield _time(device, budget)


@torch.no_grad()
def _shape(device: torch.device) -> Finding:
    image = tile(176, row=600, column=420)
    kernel = torch.full((1, 1, 3, 3), -0.125)
    kernel[..., 1, 1] = 1
    whole = F.conv2d(image, kernel, padding=RATE, dilation=RATE)
    coarse = F.conv2d(phases(image, RATE), kernel, padding=1)
    layers = {"atrous": Atrous(1, 1, rate=RATE), "strided": strided(1)}
    outputs = {name: place_network(layer, device).eval()(image.to(device)) for name, layer in layers.items()}
    numbers = {
        **{name: exactly(1 - output.numel() / image.numel()) for name, output in outputs.items()},
        "error": exactly(float((together(coarse, RATE) - whole).abs().max())),
    }
    panels = [
        Panel("the image", heat(image[0, 0].numpy(), colours="gray")),
        Panel(
            f"what rate {RATE} reads: {RATE * RATE} coarse images", heat(mosaic(phases(image, RATE)), colours="gray")
        ),
        Panel("an ordinary convolution of each", heat(mosaic(coarse.abs()), low=0, high=0.5)),
        Panel("put back: the atrous convolution", heat(whole[0, 0].abs().numpy(), low=0, high=0.5)),
    ]
    return Finding("atrous_cost.shape", numbers, [Panels("An atrous convolution taken apart", panels)])


def tile(size: int, *, row: int = 0, column: int = 0) -> Tensor:
    """Mean of red, green and blue of the sample tile, (1, 1, size, size) from 0 to 1, 1 m pixels."""
    scene = open_scene(TILE)
    values = scene.read(Window(row, column, size, size), bands=scene.bands).values
    return torch.from_numpy(values).mean(0)[None, None] / 255


def phases(image: Tensor, rate: int) -> Tensor:
    """Every `rate`-th pixel of (1, 1, height, width), from each of rate x rate starts: (rate * rate, 1, ., .)."""
    return F.pixel_unshuffle(image, rate).transpose(0, 1)


def together(coarse: Tensor, rate: int) -> Tensor:
    """The opposite of `phases`."""
    return F.pixel_shuffle(coarse.transpose(0, 1), rate)


def mosaic(coarse: Tensor) -> np.ndarray:
    """Coarse images (number, 1, rows, columns) beside each other in a square, a line between them."""
    side = round(len(coarse) ** 0.5)
    framed = F.pad(coarse[:, 0], (0, 1, 0, 1), value=float(coarse.max())).numpy()
    rows = [np.concatenate(framed[start : start + side], 1) for start in range(0, len(framed), side)]
    return np.concatenate(rows, 0)


@torch.no_grad()
def _time(device: torch.device, budget: Budget) -> Finding:
    rates, channels = (1, *budget.sweep((2, 4, 6, 8, 12, 18))), budget.channels
    image = torch.randn(1, channels, budget.size, budget.size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    layers = {f"{rate}": place_network(Atrous(channels, channels, rate=rate), device).eval() for rate in rates}
    light = {f"depthwise {r}": place_network(Separable(channels, channels, rate=r), device).eval() for r in rates}
    runs = {name: (lambda layer=layer: layer(image)) for name, layer in (layers | light).items()}
    times = interleave(runs, device, rounds=budget.rounds)
    curves = {
        "atrous": [times[f"{rate}"].ms for rate in rates],
        "depthwise separable": [times[f"depthwise {rate}"].ms for rate in rates],
    }
    last = rates[-1]
    numbers = {
        "slower": ratio(times[f"{last}"], times["1"]),
        "slower_separable": ratio(times[f"depthwise {last}"], times["depthwise 1"]),
        "rate": exactly(last),
    }
    return Finding("atrous_cost.time", numbers, [Lines("Forward time", "rate", "milliseconds", rates, curves)])
