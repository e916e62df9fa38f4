"""What the machine can do at best, how near to it the layers of a network come, and what the order of numbers in memory
and their type change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cropland.blocks.batch_norm import batch_norm
from cropland.blocks.convolution import Convolution
from cropland.blocks.max_pool import max_pool
from cropland.blocks.separable import Separable
from cropland.blocks.transposed import transposed
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, quartiles, quotient, ratio
from cropland.lab.roofline import TYPES, Roofline, roofline
from cropland.training.memory import place_network

__all__ = ["convolution_ceilings", "convolution_layers", "convolution_layout"]

ORDINARY, DEPTHWISE = "ordinary 3 x 3", "depthwise"
BEATEN = 1.1  # a share beyond which the ceiling is in doubt
DOUBT = "faster than the ceilings: they were disturbed, or fewer operations were done than counted"

ORDERS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
FIRST, LAST = ORDERS


def convolution_ceilings(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Rates of multiplication by number type and library, rates of copying by size."""
    roof = roofline(device, budget.rounds)
    yield _library(roof)
    yield _memory(roof)


def _library(roof: Roofline) -> Finding:
    rates = {f"{lib}, {name}": n.times(1e-9) for name in TYPES for lib, n in roof.flops[name].items()}
    ranked = sorted(roof.flops["float32"].values(), key=lambda number: number.value)
    best, worst = ranked[-1], ranked[0]
    numbers = {
        "apart": quotient(best, worst),
        "float32": best.times(1e-9),
        "bfloat16": max(roof.flops["bfloat16"].values(), key=lambda number: number.value).times(1e-9),
        "float16": max(roof.flops["float16"].values(), key=lambda number: number.value).times(1e-9),
    }
    picture = Bars("The best rate of multiplying matrices", "GFLOP per second", rates)
    return Finding("convolution_ceilings.library", numbers, [picture])


def _memory(roof: Roofline) -> Finding:
    sizes = sorted(roof.copies)
    fastest, main = max(roof.copies.values(), key=lambda number: number.value), roof.copies[sizes[-1]]
    numbers = {
        "apart": quotient(fastest, main),
        "fastest": fastest.times(1e-9),
        "main": main.times(1e-9),
        "ridge": exactly(roof.peak() / roof.bandwidth),
    }
    picture = Lines(
        "Copying, by the size of what is copied",
        "megabytes",
        "gigabytes per second, read and written",
        [size / 1e6 for size in sizes],
        {"copy, all threads": [roof.copies[size].times(1e-9) for size in sizes]},
        log_x=True,
        log_y=True,
    )
    return Finding("convolution_ceilings.memory", numbers, [picture])


@dataclass(frozen=True)
class Measured:
    """A layer's operations, the bytes that it must read and write, and its seconds, round by round."""

    flops: float
    moved: float
    seconds: tuple[float, ...]

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.flops / self.moved

    @property
    def rate(self) -> Number:
        """Operations per second."""
        return quartiles(self.flops / s for s in self.seconds)

    def share(self, roof: Roofline) -> Number:
        """Of the rate that the roofline allows."""
        return quartiles(roof.seconds(self.flops, self.moved) / s for s in self.seconds)


@torch.no_grad()
def convolution_layers(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The ordinary convolution under the roofline, and all layers against each other."""
    roof, layers = roofline(device, budget.rounds), _layers(device, budget)
    yield _near(roof, layers)
    yield _equal(roof, layers)


def _layers(device: torch.device, budget: Budget) -> dict[str, Measured]:
    channels = budget.channels
    x = torch.randn(1, channels, budget.size, budget.size, device=device).contiguous(memory_format=torch.channels_last)
    layers: dict[str, nn.Module] = {
        ORDINARY: Convolution(channels, channels).convolution,
        "pointwise": Convolution(channels, channels, kernel=1).convolution,
        DEPTHWISE: Separable(channels, channels).depthwise,
        "transposed 2 x 2": transposed(channels, channels),
        "largest of 2 x 2": max_pool(channels),
        "normalisation": batch_norm(channels),
    }
    ready = {name: place_network(layer, device).eval() for name, layer in layers.items()}
    runs = {name: (lambda layer=layer: layer(x)) for name, layer in ready.items()}
    times = interleave(runs, device, rounds=budget.rounds)
    return {name: Measured(*cost(ready[name], x), times[name].samples) for name in layers}


def cost(layer: nn.Module, x: Tensor) -> tuple[float, float]:
    """Operations, and bytes of input, output and weights, each once.

    A multiply-add is two operations; pooling compares, and normalisation multiplies and adds, once per number.
    """
    y, weights = layer(x), sum(weight.numel() for weight in layer.parameters())
    match layer:
        case nn.ConvTranspose2d():
            flops = 2 * layer.weight.numel() * x.numel() / x.shape[1]
        case nn.Conv2d():
            flops = 2 * layer.weight.numel() * y.numel() / y.shape[1]
        case nn.MaxPool2d():
            flops = 3 * y.numel()
        case _:
            flops = 2 * y.numel()
    return float(flops), float(x.element_size() * (x.numel() + y.numel() + weights))


def _near(roof: Roofline, layers: Mapping[str, Measured]) -> Finding:
    share, moved = layers[ORDINARY].share(roof), layers[ORDINARY].moved
    if share.low > BEATEN:
        return Finding("convolution_layers.near", {}, [_roofline(roof, layers)], missing=DOUBT)
    numbers = {
        "ordinary": share,
        "rate": layers[ORDINARY].rate.times(1e-9),
        "peak": exactly(roof.peak() / 1e9),
        "intensity": exactly(layers[ORDINARY].intensity),
        "ridge": exactly(roof.peak() / roof.bandwidth_of(moved)),
    }
    return Finding("convolution_layers.near", numbers, [_roofline(roof, layers)])


def _roofline(roof: Roofline, layers: Mapping[str, Measured]) -> Lines:
    """Each layer a dot, under a roof for the slowest and one for the fastest memory."""
    widths = {"roof: data in the main memory": roof.bandwidth, "roof: data in the fastest cache": roof.bandwidth_of(0)}
    at = sorted(
        {layer.intensity for layer in layers.values()} | {roof.peak() / w for w in widths.values()} | {0.1, 1e3}
    )
    ceilings = {name: [exactly(min(roof.peak(), a * w) / 1e9) for a in at] for name, w in widths.items()}
    placed = {
        name: [layer.rate.times(1e-9) if a == layer.intensity else None for a in at] for name, layer in layers.items()
    }
    axes = "operations per byte", "GFLOP per second"
    return Lines("The roofline", *axes, at, {**ceilings, **placed}, log_x=True, log_y=True)


def _equal(roof: Roofline, layers: Mapping[str, Measured]) -> Finding:
    kinds = {name: layer for name, layer in layers.items() if name in (ORDINARY, "pointwise", DEPTHWISE)}
    rates = {name: layer.rate.times(1e-9) for name, layer in layers.items()}
    shares = {name: layer.share(roof) for name, layer in layers.items()}
    below = [name for name, layer in layers.items() if layer.intensity < roof.peak() / roof.bandwidth_of(layer.moved)]
    apart = [max(rates) / min(rates) for rates in zip(*(_rates(layer) for layer in kinds.values()), strict=True)]
    numbers = {
        "apart": quartiles(apart),
        "by_memory": exactly(len(below)),
        "layers": exactly(len(layers)),
        "depthwise_share": shares[DEPTHWISE],
    }
    pictures = (
        Bars("Arithmetic per second", "GFLOP per second", rates),
        Bars("Share of what the roofline allows", "share", shares, level=1.0),
    )
    notes = [DOUBT] * any(share.low > BEATEN for share in shares.values())
    return Finding("convolution_layers.equal", numbers, pictures, notes)


def _rates(layer: Measured) -> list[float]:
    return [layer.flops / seconds for seconds in layer.seconds]


@torch.no_grad()
def convolution_layout(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Channels last against channels first, half the bits against all."""
    yield _layout(device, budget)
    yield _types(device, budget)


def _kinds(channels: int) -> dict[str, nn.Module]:
    return {
        "ordinary": Convolution(channels, channels).convolution,
        "pointwise": Convolution(channels, channels, kernel=1).convolution,
        "depthwise": Separable(channels, channels).depthwise,
    }


def _layout(device: torch.device, budget: Budget) -> Finding:
    runs: dict[str, Run] = {}
    for name, layer in _kinds(budget.channels).items():
        for order in ORDERS:
            runs[f"{name}, {order}"] = _run(layer, _image(budget), device, torch.float32, order)
    times = interleave(runs, device, rounds=budget.rounds)
    faster = {name: ratio(times[f"{name}, {FIRST}"], times[f"{name}, {LAST}"]) for name in _kinds(1)}
    return Finding("convolution_layout.layout", faster, _bars(times, faster, "Channels last: times as fast"))


def _types(device: torch.device, budget: Budget) -> Finding:
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if device.type == "cuda":
        types["float16"] = torch.float16
    layers, x = _kinds(budget.channels), _image(budget)
    runs = {
        f"{name}, {kind}": _run(layer, x, device, dtype, LAST)
        for name, layer in layers.items()
        for kind, dtype in types.items()
    }
    times = interleave(runs, device, rounds=budget.rounds)
    faster = {n: ratio(times[f"{n}, float32"], times[f"{n}, bfloat16"]) for n in layers}
    exact = layers["ordinary"].to("cpu", torch.float32)(x)
    error = rounding(runs["ordinary, bfloat16"](), exact)
    numbers = {**faster, "error": exactly(error)}
    return Finding("convolution_layout.types", numbers, _bars(times, faster, "bfloat16: times as fast"))


def rounding(found: object, exact: Tensor) -> float:
    """The root mean square of the error, as a share of the root mean square of the result."""
    assert isinstance(found, Tensor)
    return float((found.cpu().float() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def _image(budget: Budget) -> Tensor:
    return torch.randn(1, budget.channels, budget.size, budget.size)


def _run(layer: nn.Module, x: Tensor, device: torch.device, dtype: torch.dtype, order: str) -> Run:
    """A forward pass of a copy of the layer, with weights and image of a type and in an order."""
    # Each run has its own copy: types and orders are timed in turn.
    ready = copy.deepcopy(layer).to(device, dtype)
    ready.to(memory_format=ORDERS[order])  # type: ignore[call-overload]  # PyTorch's annotations do not know it
    image = x.to(device, dtype).contiguous(memory_format=ORDERS[order])
    return lambda: ready(image)


def _bars(times: Mapping[str, Times], faster: Mapping[str, Number], title: str) -> list[Bars]:
    spent = Bars("Forward", "milliseconds", {name: its.ms for name, its in times.items()})
    return [Bars(title, "times", faster, level=1.0), spent]
