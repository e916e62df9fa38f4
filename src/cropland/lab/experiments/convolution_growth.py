"""How the time of a convolution grows with its channels, its kernel and the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from cropland.blocks.convolution import Convolution
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, quartiles
from cropland.lab.roofline import Roofline, roofline
from cropland.training.device import place_network

__all__ = ["convolution_growth"]

SHARES = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the middle
KERNELS = (1, 3, 5, 7)


@dataclass(frozen=True)
class Layer:
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


def sweeps(budget: Budget) -> dict[str, dict[int, Layer]]:
    """The layers of each sweep, by the value that is varied."""
    channels, edge = budget.channels, budget.size
    shares = budget.sweep(SHARES)
    return {
        "channels": {c: Layer(c, 3, edge) for c in (round(channels * share) for share in shares)},
        "kernel": {k: Layer(channels, k, edge) for k in KERNELS},
        "size": {e: Layer(channels, 3, e) for e in (round(edge * share) for share in shares)},
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


def _picture(title: str, axis: str, its: Mapping[int, Layer], times: Mapping[str, Times], roof: Roofline) -> Lines:
    middle = max(its.values(), key=lambda layer: layer.flops)
    each = times[f"{middle}"].number.value / middle.flops
    curves = {
        "measured": [times[f"{layer}"].ms for layer in its.values()],
        "in proportion to the multiply-adds": [exactly(each * layer.flops * 1e3) for layer in its.values()],
        "what the roofline allows": [exactly(roof.seconds(layer.flops, layer.moved) * 1e3) for layer in its.values()],
    }
    return Lines(title, axis, "milliseconds", list(its), curves, log_x=True, log_y=True)
