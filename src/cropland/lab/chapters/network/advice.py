"""What to change in a network: how far it is from the roofline, what changes promise by a rule, and whether the clock
keeps it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median

import torch
from torch import nn

from cropland.lab.chapters.network.parts import shown
from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Run, Times, exactly, interleave, quartiles
from cropland.lab.parts import FLOAT, REST, Body, Operation, Seconds, forward_times, open_body, operations
from cropland.lab.roofline import Roofline, roofline
from cropland.training.memory import place_network

__all__ = ["network_advice", "network_advice_tried"]

BEST = 3
HALF, BF16 = "half the resolution", "bfloat16"

AS_IS, FIRST = "as it is", "channels first in memory"


@dataclass(frozen=True)
class Bill:
    """A network's operations, timed rounds, per part the middle seconds and the roofline's least, and the machine."""

    body: Body
    work: Sequence[Operation]
    rounds: Sequence[Seconds]
    seconds: Seconds
    least: Seconds
    roof: Roofline

    def lost(self, part: str) -> float:
        """Seconds of a part above the roofline's least."""
        return self.seconds[part] - self.least[part]


def network_advice(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The share of the roofline that is reached, and the three changes that promise most."""
    bill = open_bill(device, budget)
    yield _roofline(bill)
    yield _three(bill)


def open_bill(device: torch.device, budget: Budget) -> Bill:
    """Follow the budget's network and time it."""
    body, roof = open_body(device, budget), roofline(device, budget.rounds)
    rounds = forward_times(body.network, body.names, body.image, device, rounds=budget.rounds)
    work = operations(body.network, body.names, body.image)
    middle = {name: median(each[name] for each in rounds) for name in (*body.names, REST)}
    return Bill(body, work, rounds, middle, bounds(work, body.names, roof), roof)


def bounds(work: Sequence[Operation], names: Sequence[str], roof: Roofline, dtype: str = "float32") -> Seconds:
    """The least seconds of every part, operation by operation; 16 bits move half of the bytes."""
    found = dict.fromkeys(names, 0.0)
    for operation in work:
        found[operation.part] += roof.seconds(
            2.0 * operation.multiply_adds, operation.moved / (1 + (dtype != "float32")), dtype
        )
    return found


def _roofline(bill: Bill) -> Finding:
    least, total = bill.least, sum(bill.least.values())
    numbers = {
        "reached": quartiles(total / sum(each.values()) for each in bill.rounds),
        "peak": exactly(bill.roof.peak() / 1e9),
        "bandwidth": exactly(bill.roof.bandwidth / 1e9),
    }
    bound = [name for name in bill.body.names if least[name]]
    shares = {name: quartiles(least[name] / each[name] for each in bill.rounds) for name in bound}
    lost = {name: quartiles(1e3 * (each[name] - least[name]) for each in bill.rounds) for name in bound}
    charts = (
        Bars("Share of the roofline that each part reaches", "share", shown(bill.body, shares), level=1.0),
        Bars("Time above the roofline's least", "milliseconds", shown(bill.body, lost)),
    )
    return Finding("network_advice.roofline", numbers, charts)


def separable_savings(bill: Bill) -> Seconds:
    """Per part the seconds saved if its ordinary convolutions were separable, at its present share of the roofline."""
    found: Seconds = {}
    for operation in bill.work:
        if is_ordinary(operation.module):
            less = bill.roof.seconds(2.0 * operation.multiply_adds, operation.moved) - _separable_seconds(
                operation, bill.roof
            )
            slowness = bill.seconds[operation.part] / bill.least[operation.part]
            found[operation.part] = found.get(operation.part, 0.0) + less * slowness
    return found


def is_ordinary(module: nn.Module) -> bool:
    """Whether it is a convolution over places and channels at once."""
    return isinstance(module, nn.Conv2d) and module.groups == 1 and max(module.kernel_size) > 1


def _separable_seconds(operation: Operation, roof: Roofline) -> float:
    assert isinstance(operation.module, nn.Conv2d)
    inside, outside, places = operation.takes[1], operation.gives[1], operation.gives[0] * operation.gives[2:].numel()
    window = prod(operation.module.kernel_size)
    depthwise = roof.seconds(
        2.0 * window * inside * places, FLOAT * (operation.takes.numel() + inside * (places + window))
    )
    moved = FLOAT * ((inside + outside) * places + inside * outside)
    return depthwise + roof.seconds(2.0 * inside * outside * places, moved)


def promises(bill: Bill) -> dict[str, float]:
    """Seconds that every change saves if the share of the roofline stays, or for one part becomes all of it."""
    body, swaps, total = bill.body, separable_savings(bill), sum(bill.seconds.values())
    half = body.image[..., ::2, ::2].contiguous(memory_format=torch.channels_last)
    smaller = bounds(operations(body.network, body.names, half), body.names, bill.roof)
    shorter = bounds(bill.work, body.names, bill.roof, "bfloat16")
    left = {name: sum(each.values()) / sum(bill.least.values()) for name, each in ((HALF, smaller), (BF16, shorter))}
    slow = sorted(body.names, key=bill.lost, reverse=True)[:BEST]
    return {
        **{f"at the roofline: {body.title(name)}": bill.lost(name) for name in slow},
        **{swap_title(body, name): swaps[name] for name in sorted(swaps, key=swaps.__getitem__, reverse=True)[:BEST]},
        **{name: total * (1 - share) for name, share in left.items()},
    }


def swap_title(body: Body, part: str) -> str:
    """What a picture calls the change of a part to separable convolutions."""
    return f"separable: {body.title(part)}"


def speedup(saved: Sequence[float], total: float) -> float:
    """How many times as fast if every saving took its share of what the others leave."""
    return 1 / prod(1 - each / total for each in saved)


def _three(bill: Bill) -> Finding:
    promised, total = promises(bill), sum(bill.seconds.values())
    order = sorted(promised, key=promised.__getitem__, reverse=True)
    times = speedup([promised[change] for change in order[:BEST] if promised[change] > 0], total)
    numbers = {
        "speedup": exactly(times),
        "total": exactly(1e3 * total),
        "left": exactly(1e3 * total / times),
    }
    bars = {change: exactly(1e3 * promised[change]) for change in order}
    return Finding("network_advice.three", numbers, [Bars("Milliseconds saved, by the rule", "milliseconds", bars)])


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
