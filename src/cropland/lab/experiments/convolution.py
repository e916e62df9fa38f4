"""A convolution is a matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor
from torch.nn import functional as F

from cropland.blocks.convolution import Convolution
from cropland.demo import TILE
from cropland.lab.charts import Bars, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Run, exactly, interleave, ratio
from cropland.training.device import place_network

__all__ = ["convolution"]

EDGE = 24  # pixels of the picture; one more on every side lies under the kernel
CORNER = 793, 816  # column and row of the tile where it begins: four fields meet
KERNELS = {
    "first row: mean": ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "second row: left to right": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "third row: top to bottom": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "fourth row: spots": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
}


def convolution(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The product, and what it takes to write it out."""
    yield _product(device, budget)


def columns(image: Tensor, kernel: int, *, padding: int) -> Tensor:
    """im2col: for every pixel a column of what lies under the kernel, (1, band, row, column) to (band k k, pixel)."""
    return F.unfold(image, kernel, padding=padding)[0]


@torch.no_grad()
def _product(device: torch.device, budget: Budget) -> Finding:
    layer, edge = Convolution(budget.channels, budget.channels).convolution, budget.size // 2
    x, weight = torch.randn(1, budget.channels, edge, edge), layer.weight.flatten(1).clone()
    error = difference(layer(x).flatten(2)[0], weight @ columns(x, 3, padding=1))
    place_network(layer, device)
    x, weight = x.to(device), weight.to(device)
    last = x.contiguous(memory_format=torch.channels_last)
    runs: dict[str, Run] = {"written": lambda: weight @ columns(x, 3, padding=1), "library": lambda: layer(last)}
    times = interleave(runs, device, rounds=budget.rounds)
    numbers = {
        "error": exactly(error),
        "larger": exactly(columns(x, 3, padding=1).numel() / x.numel()),
        "slower": ratio(times["written"], times["library"]),
    }
    bars = {"matrix written out, then multiplied": times["written"].ms, "library's convolution": times["library"].ms}
    return Finding("convolution.product", numbers, [_pictures(), Bars("The same layer", "milliseconds", bars)])


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def _pictures() -> Panels:
    """The product drawn, over real pixels with four kernels that can be understood."""
    with rasterio.open(TILE) as tile:
        rgb = tile.read([1, 2, 3], window=Window(*CORNER, EDGE + 2, EDGE + 2))
    image = torch.from_numpy(rgb.astype(np.float32))[None] / 255
    weight = torch.tensor(list(KERNELS.values())).float().flatten(1).repeat(1, 3) / 27
    under = columns(image, 3, padding=0)
    product = weight @ under
    drawn = [Panel(name, heat(row.reshape(EDGE, EDGE).numpy())) for name, row in zip(KERNELS, product, strict=True)]
    even = (product - product.mean(1, keepdim=True)) / product.std(1, keepdim=True)
    return Panels(
        "A convolution as a matrix product",
        [
            Panel("an image of three bands", raster(rgb.transpose(1, 2, 0)), "x", _shape(image[0])),
            Panel("under the kernel, a column per pixel", heat(under.numpy()), "u = unfold(x, 3)", _shape(under)),
            Panel("the weights, a row per kernel", heat(weight.numpy()), "w.flatten(1)", _shape(weight)),
            Panel("the product, a row per kernel", heat(even.numpy()), "w.flatten(1) @ u", _shape(product)),
            *drawn,
        ],
    )


def _shape(matrix: Tensor) -> str:
    return " x ".join(map(str, matrix.shape))
