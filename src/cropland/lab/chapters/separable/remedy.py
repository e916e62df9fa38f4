"""The remedy: the depthwise result stays in the cache, and the multiply-adds that were saved become time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.kernel.compile import available
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, ratio
from cropland.lab.roofline import roofline
from cropland.lab.stacks import by_openvino, folded, fused, in_bands
from cropland.training.memory import place_network

__all__ = ["separable_remedy"]

LAYERS = 6
BAND = 16  # rows
SETTLE_S = 0.2  # three libraries, each with its own threads
NO_KERNEL = "no kernel for this device, or LLVM is not installed: pip install 'cropland[fused]'"


def separable_remedy(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Six layers at two widths: the speed-up of each execution, and what the machine allows."""
    if device.type != "cpu" or not available():
        yield from (Finding(f"separable_remedy.{key}", missing=NO_KERNEL) for key in ("ratio", "bound", "exact"))
        return
    narrow, wide = budget.channels, 2 * budget.channels
    stacks = {channels: _Stack(channels, budget.size) for channels in (narrow, wide)}
    times = {channels: _time(stack, device, rounds=budget.rounds) for channels, stack in stacks.items()}
    yield _ratio(stacks, times)
    yield _bound(stacks, times, device, rounds=budget.rounds)
    yield _exact(stacks[narrow])


class _Stack:
    """Six ordinary and six separable layers over one image, for inference: norms folded, channels last."""

    def __init__(self, channels: int, size: int) -> None:
        cpu = torch.device("cpu")
        self.channels, self.size = channels, size
        self.blocks = [Separable(channels, channels).eval() for _ in range(LAYERS)]
        ordinary = [layer for _ in range(LAYERS) for layer in folded(Convolution(channels, channels))]
        separable = [layer for block in self.blocks for layer in folded(block)]
        self.ordinary = place_network(nn.Sequential(*ordinary), cpu)
        self.separable = place_network(nn.Sequential(*separable), cpu)
        self.fused = place_network(nn.Sequential(*[fused(block) for block in self.blocks]), cpu)
        self.image = torch.randn(1, channels, size, size).contiguous(memory_format=torch.channels_last)

    def runs(self) -> dict[str, Run]:
        """Every execution of the same six layers."""
        compiled, values = by_openvino(self.separable, self.image), self.image.numpy()
        return {
            "ordinary": lambda: self.ordinary(self.image),
            "layer by layer": lambda: self.separable(self.image),
            f"bands of {BAND} rows in plain torch": lambda: in_bands(self.separable, self.image, band=BAND),
            "OpenVINO": lambda: compiled(values),
            "fused": lambda: self.fused(self.image),
        }

    @property
    def expected(self) -> float:
        """The ratio of multiply-adds, 9 C^2 to 9 C + C^2."""
        return 9 * self.channels / (9 + self.channels)


@torch.no_grad()
def _time(stack: _Stack, device: torch.device, *, rounds: int) -> dict[str, Times]:
    return interleave(stack.runs(), device, rounds=rounds, settle_s=SETTLE_S)


def _ratio(stacks: Mapping[int, _Stack], times: Mapping[int, Mapping[str, Times]]) -> Finding:
    gains = {c: {name: ratio(its["ordinary"], run) for name, run in its.items()} for c, its in times.items()}
    charts = [
        Bars(f"Six layers of {c} channels: times as fast as ordinary", "times", gains[c], level=stack.expected)
        for c, stack in stacks.items()
    ]
    reached = {c: gains[c]["fused"].times(1 / stack.expected) for c, stack in stacks.items()}
    narrow, wide = stacks
    numbers = {
        "share": min(reached.values(), key=lambda number: number.value),
        "narrow": gains[narrow]["fused"],
        "wide": gains[wide]["fused"],
        "layers_narrow": gains[narrow]["layer by layer"],
        "layers_wide": gains[wide]["layer by layer"],
        "expected_narrow": exactly(stacks[narrow].expected),
        "expected_wide": exactly(stacks[wide].expected),
    }
    return Finding("separable_remedy.ratio", numbers, charts)


def _bound(
    stacks: Mapping[int, _Stack], times: Mapping[int, Mapping[str, Times]], device: torch.device, *, rounds: int
) -> Finding:
    """What the roofline allows if the arithmetic runs at the best matrix rate and each layer is read and written."""
    machine, reached = roofline(device, rounds), {}
    for c, stack in stacks.items():
        pixels = stack.size**2
        flops, moved = 2.0 * pixels * c * (9 + c) * LAYERS, 4.0 * pixels * 2 * c * LAYERS
        seconds = times[c]["fused"].number
        least = machine.seconds(flops, moved)
        reached[f"{c} channels"] = Number(least / seconds.value, least / seconds.high, least / seconds.low)
    values = list(reached.values())
    numbers = {"narrow": values[0], "wide": values[1], "least": min(values, key=lambda number: number.value)}
    chart = Bars("Share of what the machine allows", "share", reached, level=1.0)
    return Finding("separable_remedy.bound", numbers, [chart])


@torch.no_grad()
def _exact(stack: _Stack) -> Finding:
    true = copy.deepcopy(nn.Sequential(*stack.blocks)).double()(stack.image.double())
    found = {"fused": stack.fused(stack.image), "layers": stack.separable(stack.image)}
    errors = {name: float((y.double() - true).abs().max() / true.abs().max()) for name, y in found.items()}
    numbers = {**errors, "times": errors["fused"] / errors["layers"]}
    return Finding("separable_remedy.exact", {name: exactly(number) for name, number in numbers.items()})
