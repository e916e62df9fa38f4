"""One layer, ordinary against separable: parameters, multiply-adds, bytes moved, milliseconds, and memory; and what a
naive stopwatch makes of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.charts import Bars, Stack
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Run, exactly, interleave, multiply_adds, quartiles, ratio, synchronise
from cropland.training.memory import kept_bytes

__all__ = ["separable_layer", "separable_stopwatch"]

LAYERS = ORDINARY, SEPARABLE = "ordinary", "separable"
PER_WEIGHT = 4 * 4  # bytes in training: itself, its gradient, two moments

ONE = "warmed up, one call"
TITLE = "How many times as fast each stopwatch says it is (dashed: the ratio of multiply-adds)"
Seconds = Mapping[str, Sequence[float]]  # by layer, one per repeat
NAIVE = """
import sys, time, torch
from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
device, channels, size, *order = sys.argv[1:]
blocks = {"ordinary": Convolution, "separable": Separable}
image = torch.randn(1, int(channels), int(size), int(size), device=device)
for name in order:
    layer = blocks[name](int(channels), int(channels)).to(device)
    begun = time.perf_counter()
    y = layer(image)
    print(name, time.perf_counter() - begun)
"""


def separable_layer(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The waterfall, then what is kept for training."""
    yield _waterfall(device, budget)
    yield _kept(device, budget)


def layers(
    device: torch.device, budget: Budget, *, training: bool = False, planes: bool = False
) -> tuple[Tensor, dict[str, nn.Module]]:
    """One image and both layers at the budget's middle; channels last unless `planes`."""
    order = torch.contiguous_format if planes else torch.channels_last
    image = torch.randn(1, budget.channels, budget.size, budget.size, device=device).contiguous(memory_format=order)
    pair = {ORDINARY: Convolution, SEPARABLE: Separable}
    ready: dict[str, Any] = {name: block(budget.channels, budget.channels) for name, block in pair.items()}
    moved = {name: each.to(device, memory_format=order) for name, each in ready.items()}
    return image, {name: each.train(training) for name, each in moved.items()}


def convolutions(ready: Mapping[str, Any]) -> dict[str, nn.Conv2d]:
    """The three convolutions in the two layers."""
    return {
        "ordinary": ready[ORDINARY].convolution,
        "depthwise": ready[SEPARABLE].depthwise,
        "pointwise": ready[SEPARABLE].pointwise,
    }


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that each operation reads and writes, as if no cache kept them for the next."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.moved += sum(each.nbytes for each in tree_leaves((args, kwargs, out)) if isinstance(each, Tensor))
        return out


@torch.no_grad()
def bytes_moved(layer: nn.Module, image: Tensor) -> float:
    """Bytes read and written by the operations of one forward pass."""
    with Traffic() as traffic:
        layer(image)
    return float(traffic.moved)


@torch.no_grad()
def _waterfall(device: torch.device, budget: Budget) -> Finding:
    image, ready = layers(device, budget)
    times = interleave({n: lambda n=n: ready[n](image) for n in ready}, device, rounds=budget.rounds)  # type: ignore[misc]
    counts = {
        "parameters": {n: float(sum(w.numel() for w in each.parameters())) for n, each in ready.items()},
        "multiply-adds": {n: multiply_adds(each, image) for n, each in ready.items()},
        "bytes moved": {n: bytes_moved(each, image) for n, each in ready.items()},
    }
    fewer = {name: exactly(its[ORDINARY] / its[SEPARABLE]) for name, its in counts.items()}
    faster = ratio(times[ORDINARY], times[SEPARABLE])
    numbers = {
        "parameters": fewer["parameters"],
        "multiply_adds": fewer["multiply-adds"],
        "moved": fewer["bytes moved"],
        "faster": faster,
        "reached": faster.times(1 / fewer["multiply-adds"].value),
        "ordinary_ms": times[ORDINARY].ms,
        "separable_ms": times[SEPARABLE].ms,
    }
    picture = Bars(
        "How many times less the separable layer needs (dashed: as much)",
        "times",
        {**fewer, "milliseconds": faster},
        level=1,
    )
    return Finding("separable_layer.waterfall", numbers, [picture])


def kept_per_image(network: nn.Module, image: Tensor) -> int:
    """Bytes that one image more keeps for the backward pass: the weights, kept once, drop out."""
    one, two = (image.repeat(batch, 1, 1, 1).requires_grad_() for batch in (1, 2))
    return kept_bytes(network, two) - kept_bytes(network, one)


def _kept(device: torch.device, budget: Budget) -> Finding:
    """Bytes that a training step holds on to: activations for the backward pass, and what belongs to the weights."""
    image, ready = layers(device, budget, training=True)
    weights = {n: PER_WEIGHT * sum(w.numel() for w in each.parameters()) for n, each in ready.items()}
    kept = {n: kept_per_image(each, image) for n, each in ready.items()}
    between = {ORDINARY: 0, SEPARABLE: image.nbytes}  # what the depthwise convolution hands to the pointwise one
    parts = {
        n: {
            "weights, gradients, moments": weights[n] / 1e6,
            "intermediate activation": between[n] / 1e6,
            "other activations kept": (kept[n] - between[n]) / 1e6,
        }
        for n in LAYERS
    }
    whole = {n: sum(its.values()) for n, its in parts.items()}
    numbers = {
        "saved": exactly(whole[ORDINARY] / whole[SEPARABLE]),
        "ordinary_mb": exactly(whole[ORDINARY]),
        "separable_mb": exactly(whole[SEPARABLE]),
        "intermediate_mb": exactly(between[SEPARABLE] / 1e6),
        "weights_ordinary_mb": exactly(weights[ORDINARY] / 1e6),
        "weights_separable_mb": exactly(weights[SEPARABLE] / 1e6),
    }
    picture = Stack("Memory that one layer holds in training, one image", "megabytes", parts)
    return Finding("separable_layer.kept", numbers, [picture])


def separable_stopwatch(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The stopwatches, from the naive to the believed; then the one fault that exists on a GPU alone."""
    yield _stopwatches(device, budget)
    yield _synchronised(device, budget)


def _stopwatches(device: torch.device, budget: Budget) -> Finding:
    seconds: dict[str, Seconds] = {}
    for order in (LAYERS, LAYERS[::-1]):
        seconds[f"one first call each, {order[0]} first"] = naive(device, budget, order=order)
    runs = _runs(device, budget)
    seconds[ONE] = _alone(runs, budget, [])
    seconds["the same, waited for (synchronize)"] = _alone(runs, budget, [device])
    for name, corrected in {
        "median of many calls, in turn": {},
        "no gradient graph": {"graph": False},
        "normalisation as in use (eval)": {"graph": False, "training": False},
        "channels last": {"graph": False, "training": False, "planes": False},
    }.items():
        times = interleave(_runs(device, budget, **corrected), device, rounds=budget.rounds)
        seconds[name] = {layer: its.samples for layer, its in times.items()}
    return _finding(seconds, expected=9 * budget.channels / (9 + budget.channels))


def _finding(seconds: Mapping[str, Seconds], *, expected: float) -> Finding:
    reported = {name: quartiles(factors(its)) for name, its in seconds.items()}
    single, naively = factors(seconds[ONE]), [factor for its in list(seconds.values())[:2] for factor in factors(its)]
    ordinary_first, separable_first, *_, believed = reported.values()
    numbers = {
        "ordinary_first": ordinary_first,
        "separable_first": separable_first,
        "single_least": exactly(min(single)),
        "single_most": exactly(max(single)),
        "believed": believed,
        "expected": exactly(expected),
        "wrong": quartiles(off(factor, believed.value) for factor in naively),
    }
    reported[ONE] = Number(reported[ONE].value, min(single), max(single))
    pictures = [Bars(TITLE, "times", reported, level=expected)]
    for n in LAYERS:
        shown = {name: quartiles(its[n]).times(1e3) for name, its in seconds.items()}
        pictures.append(Bars(f"What each stopwatch says of the {n} layer", "milliseconds", shown))
    return Finding("separable_stopwatch.naive", numbers, pictures)


def naive(device: torch.device, budget: Budget, *, order: Sequence[str]) -> Seconds:
    """Seconds of the first call of each layer, in a process of its own: nothing has run there before."""
    told: dict[str, list[float]] = {layer: [] for layer in LAYERS}
    sizes = (str(device), str(budget.channels), str(budget.size))
    for _ in range(max(1, budget.rounds // 3)):
        command = (sys.executable, "-c", NAIVE, *sizes, *order)
        lines = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.split("\n")
        for layer, seconds in (line.split() for line in lines if line):
            told[layer].append(float(seconds))
    return told


def off(found: float, true: float) -> float:
    """By what factor a ratio is wrong, whichever way."""
    return max(found / true, true / found)


def factors(its: Seconds) -> list[float]:
    """How many times as long the ordinary layer took, repeat by repeat."""
    return [a / b for a, b in zip(its[ORDINARY], its[SEPARABLE], strict=True)]


def _runs(
    device: torch.device, budget: Budget, *, graph: bool = True, training: bool = True, planes: bool = True
) -> dict[str, Run]:
    """Calls with faults: gradients recorded, statistics of the batch taken, channels first in memory."""
    image, ready = layers(device, budget, training=training, planes=planes)

    def run(name: str) -> object:
        with torch.set_grad_enabled(graph):
            return ready[name](image)

    return {name: lambda name=name: run(name) for name in ready}  # type: ignore[misc]


def _alone(runs: Mapping[str, Run], budget: Budget, wait: Sequence[torch.device]) -> Seconds:
    """One warm call each, again and again, for any of them is what a single sample might have been."""

    def clock(run: Run) -> float:
        begun = time.perf_counter()
        run()
        for device in wait:
            synchronise(device)
        return time.perf_counter() - begun

    return {name: [clock(run) for _ in range(2 * budget.rounds + 2)][2:] for name, run in runs.items()}


def _synchronised(device: torch.device, budget: Budget) -> Finding:
    """What a clock that does not wait sees of the time."""
    if device.type == "cpu":
        missing = "on the CPU a call returns when its work is done: to synchronise changes nothing"
        return Finding("separable_stopwatch.synchronise", missing=missing)
    runs = _runs(device, budget, graph=False, training=False, planes=False)
    waited = interleave(runs, device, rounds=budget.rounds)
    launched = {name: quartiles(its) for name, its in _alone(runs, budget, []).items()}
    shown = {f"{name}, not waited for": its.times(1e3) for name, its in launched.items()}
    shown |= {f"{name}, waited for": times.ms for name, times in waited.items()}
    numbers = {
        "seen": launched[ORDINARY].times(1 / waited[ORDINARY].number.value),
        "speedup": ratio(waited[ORDINARY], waited[SEPARABLE]),
        "speedup_seen": exactly(launched[ORDINARY].value / launched[SEPARABLE].value),
    }
    pictures = [Bars("With and without synchronise", "milliseconds", shown)]
    return Finding("separable_stopwatch.synchronise", numbers, pictures)
