"""Any network taken apart: what each part computes, keeps and sees, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from cropland.lab.charts import Bars, Lines, Stack
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, quartiles
from cropland.lab.parts import REST, Body, Seconds, forward_times, kept, open_body, training_times
from cropland.lab.reach import maps_of, reach

__all__ = ["network"]

SHOWN = 24  # parts in a picture, the largest
STACKED = 7  # told apart by colour
OTHERS = "all other parts"


def network(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Time against multiply-adds and parameters, the backward pass, memory, the field."""
    body = open_body(device, budget)
    rounds = forward_times(body.network, body.names, body.image, device, rounds=budget.rounds)
    yield _arithmetic(body, rounds)
    yield _parameters(body, rounds)
    yield _backward(body, device, budget)
    yield _memory(body)
    yield _field(body, len(body.image[0]))


def _arithmetic(body: Body, rounds: Sequence[Seconds]) -> Finding:
    work = {layer.name: layer.multiply_adds for layer in body.layers}
    numbers = {
        "overlap": quartiles(overlap(each, work) for each in rounds),
        "total": quartiles(1e3 * sum(each.values()) for each in rounds),
        "parts": exactly(len(body.layers)),
        "edge": exactly(body.image.shape[-1]),
    }
    times = {name: quartiles(1e3 * each[name] for each in rounds) for name in (*body.names, REST)}
    counts = {name: exactly(value / 1e3) for name, value in work.items()}
    charts = (
        Bars("Time forward, part by part", "milliseconds", shown(body, times)),
        Bars("Multiply-adds per image pixel", "thousands", shown(body, counts)),
    )
    return Finding("network.arithmetic", numbers, charts)


def overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How much two distributions over the parts have in common: the sum of the smaller shares, 0 to 1."""
    sums = sum(one.values()) or 1.0, sum(other.values()) or 1.0
    return sum(min(one.get(name, 0.0) / sums[0], other.get(name, 0.0) / sums[1]) for name in one)


def _parameters(body: Body, rounds: Sequence[Seconds]) -> Finding:
    held = {layer.name: float(layer.parameters) for layer in body.layers}
    middle = {name: quartiles(each[name] for each in rounds).value for name in [*body.names, REST]}
    work = {layer.name: layer.multiply_adds for layer in body.layers}
    numbers = {
        "overlap": quartiles(overlap(each, held) for each in rounds),
        "parameters": exactly(sum(held.values()) / 1e6),
        "largest": exactly(max(held.values()) / sum(held.values())),
    }
    rows = {"parameters": held, "multiply-adds": work, "time forward": middle}
    largest = sorted(body.names, key=lambda name: -max(_share(row, name) for row in rows.values()))[:STACKED]
    bars = {label: _stacked(body, row, [name for name in body.names if name in largest]) for label, row in rows.items()}
    return Finding("network.parameters", numbers, [Stack("The same parts by three measures", "share", bars)])


def _share(row: Mapping[str, float], name: str) -> float:
    return row.get(name, 0.0) / (sum(row.values()) or 1.0)


def _stacked(body: Body, row: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    shares = {body.title(name): _share(row, name) for name in names}
    return {**shares, OTHERS: 1 - sum(shares.values())}


def _backward(body: Body, device: torch.device, budget: Budget) -> Finding:
    rounds = training_times(body.network, body.names, body.image, device, rounds=budget.rounds)
    numbers = {
        "ratio": quartiles(sum(each.values()) / forward for forward, each in rounds),
        "forward": quartiles(1e3 * forward for forward, _ in rounds),
        "backward": quartiles(1e3 * sum(each.values()) for _, each in rounds),
    }
    times = {name: quartiles(1e3 * each[name] for _, each in rounds) for name in [*body.names, REST]}
    return Finding(
        "network.backward", numbers, [Bars("Time backward, part by part", "milliseconds", shown(body, times))]
    )


def _memory(body: Body) -> Finding:
    held = kept(body.network, body.names, body.image)
    weights, maps = 4 * sum(layer.parameters for layer in body.layers), sum(held.values())
    numbers = {
        "share": exactly(weights / (weights + maps)),
        "weights": exactly(weights / 1e6),
        "maps": exactly(maps / 1e6),
        "edge": exactly(body.image.shape[-1]),
    }
    bars = {name: exactly(size / 1e6) for name, size in held.items()}
    return Finding("network.memory", numbers, [Bars("Kept for the backward pass", "megabytes", shown(body, bars))])


def _field(body: Body, bands: int) -> Finding:
    found = reach(maps_of(body.network.to("cpu"), body.names), bands)
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return Finding("network.field", missing="the field of this network has no bound")
    coarse = max(each.stride for each in known)
    pairs = zip([0, *(each.window for each in known)], known, strict=False)
    grown = {name: max(0, its.window - before) for name, (before, its) in zip(body.names, pairs, strict=True)}
    inside = sum(grown[name] for name, each in zip(body.names, known, strict=True) if each.stride >= coarse / 2)
    numbers = {
        "coarse": exactly(inside / sum(grown.values())),
        "window": exactly(known[-1].window),
        "radius": exactly(known[-1].radius),
        "stride": exactly(coarse),
    }
    curve = {
        "sees": [exactly(each.window) for each in known],
        "one pixel of its map": [exactly(each.stride) for each in known],
    }
    line = Lines(
        "Rows of the image that one pixel of each map sees",
        "part",
        "pixels",
        [*range(1, len(known) + 1)],
        curve,
        log_y=True,
    )
    bars = Bars("What each part adds to the field", "pixels", shown(body, {n: exactly(v) for n, v in grown.items()}))
    return Finding("network.field", numbers, [line, bars])


def shown(body: Body, bars: Mapping[str, Number]) -> dict[str, Number]:
    """The largest bars, in the order of computation, by the titles of their parts."""
    chosen = sorted(bars, key=lambda name: -bars[name].value)[:SHOWN]
    return {body.title(name): number for name, number in bars.items() if name in chosen}
