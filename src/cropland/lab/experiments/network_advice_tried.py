"""Whether the clock keeps what the rule of `network_advice` promises: the changes that can be tried, tried."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.experiments.network_advice import (
    BF16,
    HALF,
    is_ordinary,
    open_bill,
    promises,
    separable_savings,
    swap_title,
)
from cropland.lab.measure import Budget, Run, Times, exactly, interleave, quartiles
from cropland.lab.parts import Body
from cropland.training.device import place_network

__all__ = ["network_advice_tried"]

AS_IS, FIRST = "as it is", "channels first in memory"


def network_advice_tried(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The whole network timed with each change in turn, beside itself as it is."""
    bill = open_bill(device, budget)
    promised, swaps = promises(bill), separable_savings(bill)
    part = max(swaps, key=swaps.__getitem__, default="")
    times = _try(bill.body, part, device, budget.rounds)
    yield _kept({change: seconds for change, seconds in promised.items() if change in times and seconds > 0}, times)


@torch.no_grad()
def _try(body: Body, part: str, device: torch.device, rounds: int) -> dict[str, Times]:
    """Weights do not matter to the time: a changed part has fresh ones."""
    network, image = body.network, body.image
    half = image[..., ::2, ::2].contiguous(memory_format=torch.channels_last)
    # PyTorch's annotations do not know memory_format.
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    first = image.contiguous()

    def short() -> object:
        with torch.autocast(device.type, torch.bfloat16):
            return network(image)

    runs: dict[str, Run] = {AS_IS: lambda: network(image), HALF: lambda: network(half), BF16: short}
    runs[FIRST] = lambda: plain(first)
    if part:
        other = place_network(with_separable(copy.deepcopy(network), part), device).eval()
        runs[swap_title(body, part)] = lambda: other(image)
    return interleave(runs, device, rounds=rounds)


def with_separable(network: nn.Module, part: str) -> nn.Module:
    """The network with the ordinary convolutions of one part made separable, in place."""
    for name, module in [*network.get_submodule(part).named_modules()]:
        if isinstance(module, nn.Conv2d) and is_ordinary(module):
            where, _, own = f"{part}.{name}".rstrip(".").rpartition(".")
            setattr(network.get_submodule(where), own, _separable(module))
    return network


def _separable(old: nn.Conv2d) -> nn.Module:
    depthwise = nn.Conv2d(
        old.in_channels,
        old.in_channels,
        old.kernel_size,  # type: ignore[arg-type]  # annotated as a tuple of any length
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        groups=old.in_channels,
        bias=False,
    )
    return nn.Sequential(depthwise, nn.Conv2d(old.in_channels, old.out_channels, 1, bias=old.bias is not None))


def _kept(promised: Mapping[str, float], times: Mapping[str, Times]) -> Finding:
    saved = {
        change: [a - b for a, b in zip(times[AS_IS].samples, times[change].samples, strict=True)] for change in times
    }
    hoped = sum(promised.values())
    rounds = [sum(each) for each in zip(*(saved[change] for change in promised), strict=True)]
    numbers = {
        "kept": quartiles(each / hoped for each in rounds),
        "hoped": exactly(1e3 * hoped),
        "saved": quartiles(1e3 * each for each in rounds),
    }
    clock = {change: quartiles(saved[change]).times(1e3) for change in times if change != AS_IS}
    kept = {change: quartiles(each / promised[change] for each in saved[change]) for change in promised}
    charts = (
        Bars("Milliseconds saved, by the clock", "milliseconds", clock),
        Bars("Share of the promise that is kept", "share", kept, level=1.0),
    )
    return Finding("network_advice_tried.kept", numbers, charts)
