"""What separable layers gain, one factor of their shape at a time about the middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Times, exactly, ratio
from cropland.lab.stacks import BLOCKS, Case, both, forward, gain, in_turn, quotient
from cropland.training.memory import SHARE, free_bytes

__all__ = ["separable_sweeps"]


def separable_sweeps(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Channels, size, batch, depth."""
    middle = Case(budget.channels, budget.size)
    yield _channels(device, budget, [replace(middle, channels=n) for n in budget.sweep((16, 32, 64, 128, 256, 512))])
    yield _size(device, budget, [replace(middle, size=n) for n in budget.sweep((16, 32, 64, 128, 256, 512))])
    yield _batch(device, budget, [replace(middle, batch=n) for n in budget.sweep((1, 2, 4, 8, 16))])
    yield from _depth(device, budget, middle)


def _channels(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at, promised = [gain(found) for found in times], [case.channels for case in cases], cases[-1].promised
    numbers = {"narrow": gains[0], "wide": gains[-1], "promised": exactly(promised)}
    numbers |= {"least": exactly(at[0]), "most": exactly(at[-1]), "share": gains[-1].times(1 / promised)}
    curves = {"measured": gains, "promised by multiply-adds": [exactly(case.promised) for case in cases]}
    spent = {name: [found[name].ms for found in times] for name in BLOCKS}
    clock = Lines("The time itself", "channels", "milliseconds", at, spent, log_x=True, log_y=True)
    return Finding("separable_sweeps.channels", numbers, [_lines("channels", at, curves), clock], notes)


def _size(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at = [gain(found) for found in times], [case.size for case in cases]
    most, least = (choose(range(len(at)), key=lambda n: gains[n].value) for choose in (max, min))
    numbers = {"most": gains[most], "least": gains[least], "spread": quotient(gains[most], gains[least])}
    numbers |= {"most_at": exactly(at[most]), "least_at": exactly(at[least])}
    chart = _lines("image edge in pixels", at, {"measured": gains}, cases[0].promised)
    return Finding("separable_sweeps.size", numbers, [chart], notes)


def _batch(device: torch.device, budget: Budget, cases: Sequence[Case]) -> Finding:
    times, notes = _sweep(cases, device, budget.rounds)
    gains, at = [gain(found) for found in times], [case.batch for case in cases]
    numbers = {"one": gains[0], "many": gains[-1], "batch": exactly(at[-1]), "grown": quotient(gains[-1], gains[0])}
    chart = _lines("batch size", at, {"measured": gains}, cases[0].promised)
    return Finding("separable_sweeps.batch", numbers, [chart], notes)


def _depth(device: torch.device, budget: Budget, middle: Case) -> Iterator[Finding]:
    at = budget.sweep((1, 2, 3, 4, 6))
    times = [_kept_and_doubled(replace(middle, layers=layers), device, budget.rounds) for layers in at]
    kept, doubled = [gain(found) for found in times], [ratio(t["ordinary"], t["doubled"]) for t in times]
    numbers = {"one": kept[0], "six": kept[-1], "grown": quotient(kept[-1], kept[0])}
    chart = _lines("layers in a row", at, {"measured": kept}, middle.promised)
    yield Finding("separable_sweeps.layers", numbers, [chart])
    numbers = {"kept": kept[-1], "doubled": doubled[-1], "promised": exactly(middle.promised / 2)}
    curves = {"depth kept": kept, "twice as many separable layers": doubled}
    chart = _lines("ordinary layers in a row", at, curves, middle.promised / 2)
    yield Finding("separable_sweeps.depth", numbers, [chart])


def _kept_and_doubled(case: Case, device: torch.device, rounds: int) -> dict[str, Times]:
    doubled = forward(BLOCKS["separable"], replace(case, layers=2 * case.layers), device)
    return in_turn({"": {**both(case, device), "doubled": doubled}}, device, rounds)[""]


def _sweep(cases: Sequence[Case], device: torch.device, rounds: int) -> tuple[list[dict[str, Times]], list[str]]:
    """Times of both layers in every case, and notes on images that had to shrink."""
    free = SHARE * free_bytes(device)
    sizes = [(case.size, case.fitting(free).size) for case in cases]
    notes = [f"image reduced from {size} to {fits} pixels: memory" for size, fits in sizes if fits < size]
    return [in_turn({"": both(case.fitting(free), device)}, device, rounds)[""] for case in cases], notes


def _lines(x: str, at: Sequence[int], curves: Mapping[str, Sequence[Number]], promised: float | None = None) -> Lines:
    levels = {"equally fast": 1.0} | ({} if promised is None else {"promised by multiply-adds": promised})
    return Lines("What separable layers gain", x, "times as fast as ordinary layers", at, curves, levels, log_x=True)
