"""The order of numbers in memory, and their type."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, ratio

__all__ = ["convolution_layout"]

ORDERS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
FIRST, LAST = ORDERS


@torch.no_grad()
def convolution_layout(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Channels last against channels first, half the bits against all."""
    yield _layout(device, budget)
    yield _types(device, budget)


def _layers(channels: int) -> dict[str, nn.Module]:
    return {
        "ordinary": Convolution(channels, channels).convolution,
        "pointwise": Convolution(channels, channels, kernel=1).convolution,
        "depthwise": Separable(channels, channels).depthwise,
    }


def _layout(device: torch.device, budget: Budget) -> Finding:
    runs: dict[str, Run] = {}
    for name, layer in _layers(budget.channels).items():
        for order in ORDERS:
            runs[f"{name}, {order}"] = _run(layer, _image(budget), device, torch.float32, order)
    times = interleave(runs, device, rounds=budget.rounds)
    faster = {name: ratio(times[f"{name}, {FIRST}"], times[f"{name}, {LAST}"]) for name in _layers(1)}
    return Finding("convolution_layout.layout", faster, _bars(times, faster, "Channels last: times as fast"))


def _types(device: torch.device, budget: Budget) -> Finding:
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if device.type == "cuda":
        types["float16"] = torch.float16
    layers, x = _layers(budget.channels), _image(budget)
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
