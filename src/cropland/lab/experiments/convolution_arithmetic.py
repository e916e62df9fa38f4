"""What convolutions store and what they compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from math import ceil

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cropland.blocks.atrous import Atrous
from cropland.blocks.convolution import Convolution
from cropland.blocks.inverted_residual import InvertedResidual
from cropland.blocks.separable import Separable
from cropland.blocks.strided import strided
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly
from cropland.lab.trials import small_recipe
from cropland.model import build_network

__all__ = ["convolution_arithmetic"]


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
    """Multiply-adds that PyTorch's counter finds: half of its operations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer.to("meta").eval()(torch.empty(1, channels, edge, edge, device="meta"))
    return int(counter.get_total_flops()) // 2


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
