"""Why a separable layer is slower than its multiply-adds promise: causes that add up to the whole gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from cropland.lab.charts import Bars, Stack
from cropland.lab.claim import Finding
from cropland.lab.experiments.separable_allocation import pages_of
from cropland.lab.experiments.separable_layer import LAYERS, convolutions, layers, multiply_adds
from cropland.lab.measure import Budget, Number, Run, Times, exactly, interleave, quartiles, ratio
from cropland.lab.roofline import Roofline, roofline

__all__ = ["separable_causes"]

ORDINARY, SEPARABLE = LAYERS
PARTS = {ORDINARY: ("ordinary",), SEPARABLE: ("depthwise", "pointwise")}
MUCH = 2**26  # bytes, more than the GNU C library ever keeps
OLD, NEW = "old memory", "new memory"
TINY = 4  # edge of an image that leaves nothing but the call
ARITHMETIC, ENDS, BETWEEN, LIBRARY = "arithmetic", "input and output", "intermediate activation", "library"
CALLS, PAGES, NORM = "dispatch", "new pages of memory", "normalisation and activation"
CAUSES = ARITHMETIC, ENDS, BETWEEN, LIBRARY, CALLS, PAGES, NORM
KEYS = {"arithmetic": ARITHMETIC, "library": LIBRARY, "dispatch": CALLS, "pages": PAGES, "norm": NORM}
Seconds = Mapping[str, float]


def separable_causes(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The gap taken apart; then how near each convolution comes to what the machine allows."""
    roof = roofline(device, budget.rounds)
    image, ready = layers(device, budget)
    parts = convolutions(ready)
    work = {name: 2 * multiply_adds(part, image) for name, part in parts.items()}
    least = {name: roof.seconds(work[name], moved(part, image)) for name, part in parts.items()}
    limits = {layer: bounds(roof, work, least, PARTS[layer], 2.0 * image.nbytes) for layer in LAYERS}
    expected = work["ordinary"] / (work["depthwise"] + work["pointwise"])
    with torch.no_grad():
        runs = _runs(ready, image)
        times = interleave(runs, device, rounds=budget.rounds)
        pages = {name: pages_of(run) for name, run in runs.items()}
    each = [{**seconds, **paging(seconds, pages)} for seconds in rounds(times)]
    yield _gap(each, limits, ratio(times[f"{ORDINARY} layer"], times[f"{SEPARABLE} layer"]), expected)
    yield _library(each, least)


def moved(part: nn.Conv2d, image: Tensor) -> int:
    """Bytes of input, weights and output, each counted once; the size is kept."""
    return 2 * image.nbytes + part.weight.nbytes


def _runs(ready: Mapping[str, nn.Module], image: Tensor) -> dict[str, Run]:
    """The layers, their convolutions, the same on a tiny image, and much memory written that is old and new."""
    tiny = image[..., :TINY, :TINY].contiguous(memory_format=torch.channels_last)
    old = torch.empty(MUCH, dtype=torch.uint8, device=image.device)
    runs: dict[str, Run] = {f"{layer} layer": lambda layer=layer: ready[layer](image) for layer in LAYERS}  # type: ignore[misc]
    for name, part in convolutions(ready).items():
        runs[name] = lambda part=part: part(image)  # type: ignore[misc]
        runs[f"{name} call"] = lambda part=part: part(tiny)  # type: ignore[misc]
    return {**runs, OLD: lambda: old.fill_(1), NEW: lambda: torch.empty_like(old).fill_(1)}


def rounds(times: Mapping[str, Times]) -> list[dict[str, float]]:
    """Seconds by name, round by round."""
    return [dict(zip(times, each, strict=True)) for each in zip(*(its.samples for its in times.values()), strict=True)]


def paging(seconds: Seconds, pages: Mapping[str, float]) -> dict[str, float]:
    """What of each run's seconds the system took to hand out its pages, at the price of those of much new memory."""
    price = max(0.0, seconds[NEW] - seconds[OLD]) / max(1.0, pages[NEW])
    return {f"{name} pages": price * number for name, number in pages.items()}


def bounds(roof: Roofline, work: Seconds, least: Seconds, parts: tuple[str, ...], ends: float) -> dict[str, float]:
    """Least seconds: of the arithmetic; of the input and output beyond it; of an intermediate beyond both.

    `work` are the operations and `least` the roofline's seconds of each part; `ends` the bytes of input and output.
    """
    arithmetic, apart = sum(work[name] for name in parts) / roof.peak(), sum(least[name] for name in parts)
    joined = min(apart, roof.seconds(sum(work[name] for name in parts), ends))
    return {ARITHMETIC: arithmetic, ENDS: joined - arithmetic, BETWEEN: apart - joined}


def causes(layer: str, seconds: Seconds, limits: Seconds) -> dict[str, float]:
    """The seconds of a layer, split: what was measured apart, then the limits, then the library's for the rest."""
    parts, whole = PARTS[layer], f"{layer} layer"
    apart = seconds[whole] - sum(seconds[name] for name in parts)
    apart_pages = seconds[f"{whole} pages"] - sum(seconds[f"{name} pages"] for name in parts)
    costs = {
        CALLS: sum(seconds[f"{name} call"] for name in parts),
        PAGES: seconds[f"{whole} pages"],
        NORM: apart - apart_pages,
        **limits,
    }
    found = shares(seconds[whole], costs)
    return {name: found[name] for name in CAUSES}


def shares(seconds: float, costs: Seconds) -> dict[str, float]:
    """Seconds split among costs in their order, each as far as time is left for it; the library has the rest."""
    found: dict[str, float] = {}
    for name, cost in costs.items():
        found[name] = min(max(0.0, cost), seconds - sum(found.values()))
    return {**found, LIBRARY: seconds - sum(found.values())}


def gap(layers: Sequence[Seconds], expected: float) -> dict[str, float]:
    """What each cause takes beyond 1/`expected` of the ordinary layer's; together the separable layer's whole gap."""
    ordinary, separable = layers
    return {name: separable[name] - ordinary[name] / expected for name in separable}


def _gap(each: Sequence[Seconds], limits: Mapping[str, Seconds], found: Number, expected: float) -> Finding:
    def split(seconds: Seconds) -> list[dict[str, float]]:
        return [causes(layer, seconds, limits[layer]) for layer in LAYERS]

    gaps = [gap(split(seconds), expected) for seconds in each]
    whole = quartiles(sum(its.values()) for its in gaps).times(1e3)
    numbers = {"expected": exactly(expected), "found": found, "gap_ms": whole}
    bars = {name: quartiles(its[name] for its in gaps).times(1e3) for name in CAUSES}
    numbers |= {f"{key}_ms": bars[name] for key, name in KEYS.items()}
    numbers["traffic_ms"] = quartiles(its[ENDS] + its[BETWEEN] for its in gaps).times(1e3)
    numbers["memory"] = quartiles((its[ENDS] + its[BETWEEN]) / sum(its.values()) for its in gaps)
    ordinary, separable = split({name: quartiles(seconds[name] for seconds in each).value for name in each[0]})
    stack = {
        "ordinary layer / ratio of multiply-adds": {name: 1e3 * s / expected for name, s in ordinary.items()},
        "separable layer": {name: 1e3 * s for name, s in separable.items()},
    }
    pictures = (
        Stack("Expected and measured time of the separable layer", "milliseconds", stack),
        Bars("What each cause adds to the expected time", "milliseconds", bars),
    )
    return Finding("separable_causes.memory", numbers, pictures)


def _library(each: Sequence[Seconds], least: Seconds) -> Finding:
    """The roofline's seconds as a share of the kernel's: those of the call without dispatch and new pages."""

    def reached(name: str, seconds: Seconds) -> float:
        kernel = seconds[name] - seconds[f"{name} call"] - seconds[f"{name} pages"]
        return least[name] / max(kernel, 0.1 * seconds[name])  # where noise leaves next to nothing

    numbers = {name: quartiles(reached(name, seconds) for seconds in each) for name in least}
    picture = Bars("Share of what the machine allows that each kernel reaches", "share", dict(numbers), level=1.0)
    numbers["even"] = quartiles(reached("depthwise", seconds) / reached("ordinary", seconds) for seconds in each)
    return Finding("separable_causes.library", numbers, [picture])
