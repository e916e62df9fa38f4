"""A convolution is a matrix product: what it stores, what it computes, and how its time grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.atrous import Atrous
from cropland.blocks.convolution import Convolution
from cropland.blocks.inverted_residual import InvertedResidual
from cropland.blocks.separable import Separable
from cropland.blocks.strided import strided
from cropland.demo import TILE
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, multiply_adds, quartiles, ratio
from cropland.lab.roofline import Roofline, roofline
from cropland.lab.trials import small_recipe
from cropland.model import build_network
from cropland.training.memory import place_network

__all__ = ["convolution", "convolution_arithmetic", "convolution_growth"]

EDGE = 24  # pixels of the picture; one more on every side lies under the kernel
CORNER = 793, 816  # column and row of the tile where it begins: four fields meet
FILTERS = {
    "first row: mean": ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "second row: left to right": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "third row: top to bottom": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "fourth row: spots": ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)),
}

SHARES = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the middle
KERNELS = (1, 3, 5, 7)


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
    weight = torch.tensor(list(FILTERS.values())).float().flatten(1).repeat(1, 3) / 27
    under = columns(image, 3, padding=0)
    product = weight @ under
    drawn = [Panel(name, heat(row.reshape(EDGE, EDGE).numpy())) for name, row in zip(FILTERS, product, strict=True)]
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


def convolution_arithmetic(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The formula against a counter, and where a network keeps its parameters and does its work."""
    yield _formula(budget)
    yield _parameters(budget)


def formula(layer: nn.Conv2d, edge: int) -> tuple[int, int]:
    """Parameters k^2 I O / groups, and multiply-adds for an image of edge x edge that keeps its size but for strides.

    Taps that fall beyond the edge of the image are counted, as all counters do.
    """
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    parameters = taps * layer.in_channels * layer.out_channels // layer.groups
    return parameters, parameters * ceil(edge / layer.stride[0]) ** 2


def counted(layer: nn.Module, channels: int, edge: int) -> int:
    """Multiply-adds that PyTorch's counter finds."""
    image = torch.empty(1, channels, edge, edge, device="meta")
    return int(multiply_adds(layer.to("meta").eval(), image))


def _formula(budget: Budget) -> Finding:
    channels, edge = budget.channels, budget.size
    layers: dict[str, nn.Module] = {
        "3 x 3": Convolution(channels, channels),
        "1 x 1": Convolution(channels, channels, kernel=1),
        "5 x 5": Convolution(channels, channels, kernel=5),
        "3 x 3, atrous": Atrous(channels, channels),
        "3 x 3, stride 2": strided(channels),
        "3 x 3, separable": Separable(channels, channels),
        "inverted residual": InvertedResidual(channels, channels),
    }
    parts = {name: [formula(c, edge) for c in _convolutions(layer).values()] for name, layer in layers.items()}
    stored, work = ({name: sum(p[which] for p in its) for name, its in parts.items()} for which in (0, 1))
    held = {name: sum(c.weight.numel() for c in _convolutions(layer).values()) for name, layer in layers.items()}
    found = {name: counted(layer, channels, edge) for name, layer in layers.items()}
    wrong = max(abs(work[n] - found[n]) / found[n] + abs(stored[n] - held[n]) / held[n] for n in layers)
    numbers = {
        "difference": exactly(wrong),
        "parameters": exactly(stored["3 x 3"]),
        "work": exactly(found["3 x 3"] / 1e6),
        "halved": exactly(found["3 x 3"] / found["3 x 3, stride 2"]),
    }
    pictures = (
        Bars("Parameters of the convolutions", "thousands", {n: exactly(v / 1e3) for n, v in stored.items()}),
        Bars(f"Multiply-adds, {edge} x {edge} pixels", "millions", {n: exactly(v / 1e6) for n, v in found.items()}),
    )
    return Finding("convolution_arithmetic.formula", numbers, pictures)


def _convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def _parameters(budget: Budget) -> Finding:
    """Of the small network that ships, which scale holds the parameters and which does the work."""
    network = build_network(small_recipe()).to("meta").eval()
    edges: dict[str, int] = {}
    for name, part in _convolutions(network).items():
        part.register_forward_hook(partial(_note, edges, name))
    network(torch.empty(1, 3, budget.size, budget.size, device="meta"))
    stored: dict[int, int] = defaultdict(int)
    for name, part in _convolutions(network).items():
        stored[budget.size // edges[name]] += part.weight.numel()
    return _by_scale(stored)


def _note(edges: dict[str, int], name: str, part: nn.Module, given: object, y: Tensor) -> None:
    edges[name] = y.shape[-1]


def _by_scale(stored: Mapping[int, int]) -> Finding:
    scales = sorted(stored)
    work = {scale: stored[scale] / scale**2 for scale in scales}
    shares = {
        "parameters": [exactly(stored[s] / sum(stored.values())) for s in scales],
        "multiply-adds": [exactly(work[s] / sum(work.values())) for s in scales],
    }
    per = [work[s] / stored[s] for s in scales]
    numbers = {
        "unequal": exactly(max(per) / min(per)),
        "deepest_parameters": shares["parameters"][-1],
        "deepest_work": shares["multiply-adds"][-1],
        "finest_parameters": shares["parameters"][0],
        "finest_work": shares["multiply-adds"][0],
    }
    axes = "pixels for each step of the map", "share"
    picture = Lines("The small U-Net, scale by scale", *axes, scales, shares, log_x=True)
    return Finding("convolution_arithmetic.parameters", numbers, [picture])


@dataclass(frozen=True)
class Convolved:
    """An ordinary convolution that keeps its channels, over a square image."""

    channels: int
    kernel: int
    edge: int

    @property
    def flops(self) -> float:
        """Operations: two for each multiply-add."""
        return 2.0 * self.kernel**2 * self.channels**2 * self.edge**2

    @property
    def moved(self) -> float:
        """Bytes of input, output and weights in float32, each once."""
        return 4.0 * (2 * self.channels * self.edge**2 + self.kernel**2 * self.channels**2)

    def run(self, device: torch.device) -> Run:
        """One forward pass."""
        layer = place_network(Convolution(self.channels, self.channels, kernel=self.kernel).convolution, device)
        x = torch.randn(1, self.channels, self.edge, self.edge, device=device)
        x = x.contiguous(memory_format=torch.channels_last)
        return lambda: layer(x)


def convolution_growth(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """One factor varied at a time about the middle layer; all timed in turn."""
    yield _growth(device, budget)


def sweeps(budget: Budget) -> dict[str, dict[int, Convolved]]:
    """The layers of each sweep, by the value that is varied."""
    channels, edge = budget.channels, budget.size
    shares = budget.sweep(SHARES)
    return {
        "channels": {c: Convolved(c, 3, edge) for c in (round(channels * share) for share in shares)},
        "kernel": {k: Convolved(channels, k, edge) for k in KERNELS},
        "size": {e: Convolved(channels, 3, e) for e in (round(edge * share) for share in shares)},
    }


@torch.no_grad()
def _growth(device: torch.device, budget: Budget) -> Finding:
    roof, swept = roofline(device, budget.rounds), sweeps(budget)
    layers = {f"{layer}": layer for its in swept.values() for layer in its.values()}
    times = interleave({name: layer.run(device) for name, layer in layers.items()}, device, rounds=budget.rounds)
    numbers = {name: apart([(layer.flops, times[f"{layer}"]) for layer in its.values()]) for name, its in swept.items()}
    numbers["all"] = apart([(layer.flops, times[name]) for name, layer in layers.items()])
    axes = {"channels": "channels", "kernel": "kernel's edge", "size": "image edge in pixels"}
    pictures = [_picture(f"Time against {name}", axes[name], its, times, roof) for name, its in swept.items()]
    return Finding("convolution_growth.growth", numbers, pictures)


def apart(timed: Sequence[tuple[float, Times]]) -> Number:
    """How many times as long an operation takes in the slowest layer as in the fastest, round by round."""
    rounds = zip(*([seconds / flops for seconds in times.samples] for flops, times in timed), strict=True)
    return quartiles(max(its) / min(its) for its in rounds)


def _picture(title: str, axis: str, its: Mapping[int, Convolved], times: Mapping[str, Times], roof: Roofline) -> Lines:
    middle = max(its.values(), key=lambda layer: layer.flops)
    each = times[f"{middle}"].number.value / middle.flops
    curves = {
        "measured": [times[f"{layer}"].ms for layer in its.values()],
        "in proportion to the multiply-adds": [exactly(each * layer.flops * 1e3) for layer in its.values()],
        "what the roofline allows": [exactly(roof.seconds(layer.flops, layer.moved) * 1e3) for layer in its.values()],
    }
    return Lines(title, axis, "milliseconds", list(its), curves, log_x=True, log_y=True)
