"""How long a country takes, and how much room: hours and storage on N machines.

    python benchmarks/country_scale.py

Speed and bytes per pixel are those that `breakdown.py` measured here; what happens on many machines is simulated, event
by event. Writes docs/explanation/country_scale.md.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import ceil
from pathlib import Path
from statistics import median

import numpy as np

import pictures
from places import DOCS, PAGES, RESULTS
from report import digits, put, table, warning
from results import load

LAND_KM2 = 9.6e6  # China's
PIXELS_M = (10.0, 2.0)
TASK = 10_980**2  # pixels: one granule of Sentinel-2 at 10 m, the unit that a machine maps and may lose
MACHINES = (1, 8, 64, 512)
HOUR = 3600.0
RASTERS = {"probability.tif", "boundary.tif", "mask.tif"}


@dataclass(frozen=True)
class World:
    """What goes wrong: the spread of the logarithm of a task's time, hours between failures of one machine (infinite:
    never), hours until it is back."""

    name: str
    spread: float
    between_failures_h: float
    repair_h: float


PERFECT = World("nothing goes wrong", 0.0, float("inf"), 0.0)
USUAL = World("machines of one's own", 0.3, 30 * 24, 1.0)
HARSH = World("machines that are taken away", 0.6, 24, 0.25)
WORLDS = (PERFECT, USUAL, HARSH)


def simulate(tasks: int, machines: int, *, task_s: float, world: World, seed: int) -> float:
    """Seconds until the last task is done.

    A machine that is free takes the first task that waits. Times are log-normal about a mean of `task_s`. A machine
    fails at a constant rate; what it had not finished is lost, waits at the end of the queue, and takes a new time.
    """
    random = np.random.default_rng(seed)
    waiting = deque([0.0] * tasks)  # since when each may start
    free, done = [0.0] * machines, 0.0
    heapify(free)
    while waiting:
        many = len(waiting)
        spans = task_s * np.exp(world.spread * random.standard_normal(many) - world.spread**2 / 2)
        lives = (
            random.exponential(world.between_failures_h * HOUR, many) if world.between_failures_h < np.inf else spans
        )
        for span, life in zip(spans.tolist(), lives.tolist(), strict=True):
            start = max(free[0], waiting.popleft())
            if life < span:
                waiting.append(start + life)
                heapreplace(free, start + life + world.repair_h * HOUR)
            else:
                heapreplace(free, start + span)
                done = max(done, start + span)
    return done


def hours(tasks: int, machines: int, *, task_s: float, world: World) -> tuple[float, float, float]:
    """The 5th, 50th and 95th percentile over seeds; fewer of them where there are many tasks."""
    seeds = 1 if world == PERFECT else max(20, min(100, 200_000 // tasks))
    ends = [simulate(tasks, machines, task_s=task_s, world=world, seed=seed) / HOUR for seed in range(seeds)]
    low, middle, high = np.quantile(ends, (0.05, 0.5, 0.95)).tolist()
    return low, middle, high


def write(results: Path = RESULTS, docs: Path = DOCS) -> None:
    """Write the page, if there are figures to compute it from."""
    kept = load(results).get("breakdown")
    if not kept:
        print("no page on country scale without benchmarks/results/breakdown.json; python benchmarks/breakdown.py")
        return
    rate = median(kept["figures"]["rates"]["cropland map"]) * 1e6
    curves = _curves(rate)
    labels = ("machines", "hours, median and 5 to 95 %")
    pictures.ranges(curves, labels, docs / "benchmarks" / "country_scale.svg")
    coarse, fine = map(_gigapixels, PIXELS_M)
    sizes = {
        "land": LAND_KM2 / 1e6,
        "coarse": coarse,
        "fine": fine,
        "rate": digits(rate / 1e6),
        "task": digits(TASK / rate),
    }
    tables = {**_hours(curves), "worlds": _worlds(), "storage": _storage(kept["figures"]["products"])}
    words = (PAGES / "country_scale.md").read_text(encoding="utf-8")
    told = words.format(**kept["machine"], **sizes, **tables, warning=warning({"breakdown": kept}))
    put(told, docs / "explanation" / "country_scale.md")


def _curves(rate: float) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Hours by number of machines, for each pixel size and world."""
    return {
        f"{pixel_m:g} m, {world.name}": {
            machines: hours(_tasks(pixel_m), machines, task_s=TASK / rate, world=world) for machines in MACHINES
        }
        for pixel_m in PIXELS_M
        for world in WORLDS
    }


def _gigapixels(pixel_m: float) -> float:
    return LAND_KM2 * 1e6 / pixel_m**2 / 1e9


def _tasks(pixel_m: float) -> int:
    return ceil(_gigapixels(pixel_m) * 1e9 / TASK)


def _worlds() -> str:
    rows = [(w.name, w.spread, w.between_failures_h, w.repair_h) if w != PERFECT else (w.name, 0.0) for w in WORLDS]
    head = ("", "spread of the logarithm", "hours between failures of a machine", "hours until it is back")
    return table(head, [(*row, *[None] * (len(head) - len(row))) for row in rows])


def _hours(curves: Mapping[str, Mapping[int, tuple[float, float, float]]]) -> dict[str, str]:
    rows = [(name, *(_interval(*each) for each in curve.values())) for name, curve in curves.items()]
    alone = {name: curve[1][1] for name, curve in curves.items() if PERFECT.name in name}
    shares = [
        (name, *(alone[f"{name.partition(',')[0]}, {PERFECT.name}"] / count / each[1] for count, each in curve.items()))
        for name, curve in curves.items()
    ]
    head = ("", *(f"{count} machine{'s' * (count > 1)}" for count in MACHINES))
    return {"hours": table(head, rows), "shares": table(head, shares)}


def _interval(low: float, middle: float, high: float) -> str:
    same = digits(low) == digits(high)
    return digits(middle) if same else f"{digits(middle)} ({digits(low)} to {digits(high)})"


def _storage(products: Mapping[str, float]) -> str:
    rasters = sum(size for name, size in products.items() if name in RASTERS)
    vectors = sum(size for name, size in products.items() if name.startswith("parcels"))
    kinds = {
        "the scene, four bands of 16 bits": products["scene"],
        "probability, boundary and mask": rasters,
        "parcels": vectors,
    }
    rows = [(name, each, *(each * _gigapixels(pixel_m) / 1e3 for pixel_m in PIXELS_M)) for name, each in kinds.items()]
    return table(("", "bytes per pixel", *(f"TB at {pixel_m:g} m" for pixel_m in PIXELS_M)), rows)


if __name__ == "__main__":
    write()
