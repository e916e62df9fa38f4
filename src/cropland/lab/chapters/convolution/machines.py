"""What suits a processor of few cores, and what a GPU; and what a call costs before it works on anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean

import torch
from torch import nn

from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Run, Times, exactly, interleave, quartiles, ratio

__all__ = ["convolution_machines", "convolution_machines_call"]

CPU = torch.device("cpu")
WIDTH = 32  # of the state that is carried from step to step
FEW = 256  # numbers that each decision is about

Make = Callable[[int, torch.device], Run]
Way = Callable[[Make, int], Run]

NUMBERS = tuple(10**power for power in range(2, 8))


def _product(edge: int, device: torch.device) -> Run:
    a, b = torch.randn(edge, edge, device=device), torch.randn(edge, edge, device=device)
    return lambda: a @ b


def elementwise(count: int, device: torch.device) -> Run:
    """One sum for each of `count` numbers, in one call."""
    x, y = torch.randn(count, device=device), torch.empty(count, device=device)
    return lambda: torch.add(x, 1.0, out=y)


def _recurrence(steps: int, device: torch.device) -> Run:
    cell, x = nn.RNN(WIDTH, WIDTH).to(device), torch.randn(steps, 1, WIDTH, device=device)
    return lambda: cell(x)


def _decisions(count: int, device: torch.device) -> Run:
    start = torch.ones(FEW, device=device)

    def run() -> object:
        x = start
        for _ in range(count):
            x = x * 0.5 if float(x[0]) > 1 else x * 3.0  # nobody knows the next step before this one is read
        return x

    return run


KERNELS: dict[str, tuple[Make, str, Sequence[int]]] = {
    "matrix product": (_product, "edge of the matrices", (16, 32, 64, 128, 256, 512, 1024)),
    "one sum for each number": (elementwise, "numbers", NUMBERS),
    "steps that need the last": (_recurrence, "steps", (4, 16, 64, 256, 1024)),
    "a decision after each piece": (_decisions, "decisions", (4, 16, 64, 256)),
}
KEYS = dict(zip(KERNELS, ("product", "elementwise", "recurrence", "decisions"), strict=True))


@torch.no_grad()
def convolution_machines(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """More threads against one, the GPU against the processor."""
    yield _threads(budget)
    yield _gpu(budget)


def _threads(budget: Budget) -> Finding:
    """One thread against all of them, on the processor."""
    threads = torch.get_num_threads()
    if threads == 1:
        return Finding("convolution_machines.threads", missing="one thread here: nothing to compare")
    try:
        times = _compare({"one thread": _on(CPU, 1), "all threads": _on(CPU, threads)}, CPU, budget)
    finally:
        torch.set_num_threads(threads)
    largest = {name: (its["one thread"][-1], its["all threads"][-1]) for name, its in times.items()}
    gains = {name: ratio(one, all_) for name, (one, all_) in largest.items()}
    numbers = {KEYS[name]: gain for name, gain in gains.items()}
    numbers |= {"least": min(gains.values(), key=lambda its: its.value), "threads": exactly(threads)}
    bars = Bars("All threads against one, at the largest size", "times as fast", gains, level=1.0)
    return Finding("convolution_machines.threads", numbers, [bars, *_pictures(times, budget)])


def _gpu(budget: Budget) -> Finding:
    """The processor with all threads against the GPU, data lying where they are needed."""
    if not torch.cuda.is_available():
        return Finding("convolution_machines.gpu", missing="this machine has no CUDA device")
    cuda = torch.device("cuda")
    times = _compare({"processor": _on(CPU), "GPU": _on(cuda)}, cuda, budget)
    pairs = [pair for its in times.values() for pair in zip(its["processor"], its["GPU"], strict=True)]
    numbers = {"won": exactly(fmean(gpu.number.value < cpu.number.value for cpu, gpu in pairs))}
    for name, its in times.items():
        slow, fast = ([t.number.value for t in its[way]] for way in ("processor", "GPU"))
        numbers[KEYS[name]] = exactly(crossing(_sizes(name, budget), slow, fast))
        numbers[f"{KEYS[name]}_gain"] = ratio(its["processor"][-1], its["GPU"][-1])
    x = torch.randn(NUMBERS[-1])
    runs: dict[str, Run] = {"travel": lambda: x.to(cuda), "work": elementwise(NUMBERS[-1], cuda)}
    there = interleave(runs, cuda, rounds=budget.rounds)
    numbers["travel"] = ratio(there["travel"], there["work"])
    return Finding("convolution_machines.gpu", numbers, _pictures(times, budget))


def crossing(sizes: Sequence[int], slow: Sequence[float], fast: Sequence[float]) -> float:
    """The first size from which on `fast` takes less time than `slow`; infinite where it does not at the largest."""
    first = math.inf
    for size, a, b in reversed(list(zip(sizes, slow, fast, strict=True))):
        if b >= a:
            break
        first = size
    return first


def _on(device: torch.device, threads: int | None = None) -> Way:
    """Make a kernel's run for a device, on so many threads."""

    def made(make: Make, size: int) -> Run:
        run = make(size, device)
        return run if threads is None else partial(_threaded, run, threads)

    return made


def _threaded(run: Run, threads: int) -> object:
    torch.set_num_threads(threads)  # a tenth of a microsecond
    return run()


def _compare(ways: Mapping[str, Way], device: torch.device, budget: Budget) -> dict[str, dict[str, list[Times]]]:
    """Times of every kernel by way and size; all sizes and ways of a kernel are timed in turn."""
    found = {}
    for name, (make, _, _) in KERNELS.items():
        runs = {(w, size): way(make, size) for w, way in ways.items() for size in _sizes(name, budget)}
        times = interleave({f"{key}": run for key, run in runs.items()}, device, rounds=budget.rounds)
        found[name] = {w: [times[f"{key}"] for key in runs if key[0] == w] for w in ways}
    return found


def _sizes(name: str, budget: Budget) -> Sequence[int]:
    return budget.sweep(KERNELS[name][2])


def _pictures(times: Mapping[str, Mapping[str, Sequence[Times]]], budget: Budget) -> list[Lines]:
    pictures = []
    for name, its in times.items():
        curves = {way: [t.ms for t in each] for way, each in its.items()}
        axes = KERNELS[name][1], "milliseconds"
        pictures.append(Lines(name, *axes, _sizes(name, budget), curves, log_x=True, log_y=True))
    return pictures


@torch.no_grad()
def convolution_machines_call(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """One operation over more and more numbers."""
    yield _call(device, budget)


def _call(device: torch.device, budget: Budget) -> Finding:
    """What a call costs before it works on anything."""
    sizes = (1, *NUMBERS, *((NUMBERS[-1] * 4, NUMBERS[-1] * 16) if device.type == "cuda" else ()))
    times = interleave({f"{n}": elementwise(n, device) for n in sizes}, device, rounds=budget.rounds)
    calls, longest = times["1"].samples, times[f"{sizes[-1]}"].samples
    numbers = {
        "call": quartiles(call * 1e6 for call in calls),
        "numbers": quartiles(free(call, long, sizes[-1]) for call, long in zip(calls, longest, strict=True)),
    }
    each = [its.number.times(1e9 / n) for n, its in zip(sizes, times.values(), strict=True)]
    axes = "numbers", "nanoseconds for each number"
    picture = Lines("One sum for each number, in one call", *axes, sizes, {"one call": each}, log_x=True, log_y=True)
    return Finding("convolution_machines_call.call", numbers, [picture])


def free(call: float, long: float, count: int) -> float:
    """How many numbers could be worked on in the time of a call, where a call with `count` of them takes `long`."""
    return count * call / max(long - call, 1e-12)
