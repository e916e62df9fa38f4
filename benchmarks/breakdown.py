"""Where the time goes: from the bare engine on lone tiles to the whole of `cropland map`, one cause after the other.

python benchmarks/breakdown.py
"""

import json
import time
from collections.abc import Callable
from itertools import repeat
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.mapping.units import cut_swaths
from cropland.model import ModelFile, default_model
from cropland.streaming.slide import slide_down
from peers import mask_of, own
from places import QUICK, THREADS, WORK
from processes import ChildError, child, use_two_cores
from results import save
from scenes import EMPTY, scene

TILE, SIZE = 512, (2048, 1024) if QUICK else (8192, 8192)
ROUNDS = 1 if QUICK else 3  # each takes more than a minute
BARE, STEP, SLIDE, PROBABILITY, MASK, MAP = (
    "lone tiles, no overlap",
    "steps",
    "sliding, first and last rows too",
    "probability",
    "probability and mask",
    "cropland map",
)
Rate = Callable[[], float]


def measure() -> dict[str, Any]:
    """Megapixels per second of each, in turn; stages of `cropland map`; pixels computed twice by strips."""
    use_two_cores()
    print(f"Breakdown, {SIZE[0]} x {SIZE[1]}, {ROUNDS} rounds")
    model, profile = ModelFile.load(default_model()), WORK / "profile.json"
    runs = {**_engine_alone(model), **_products(profile)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    stages: list[dict[str, float]] = []
    for number in range(ROUNDS):
        for name, run in runs.items():
            rates[name].append(run())
            print(f"  {number + 1}/{ROUNDS} {name:40} {rates[name][-1]:8.2f} Mpx/s", flush=True)
        stages += _stages(profile)
    return {"size": SIZE, "rates": rates, "stages": stages, "strips": _strips(model), "products": _product_bytes()}


def _engine_alone(model: ModelFile) -> dict[str, Rate]:
    """On random pixels that are there already."""
    engine, random = open_engine(model, threads=THREADS), np.random.default_rng(0)
    height, width = SIZE
    tile, slide = random.random((1, 3, TILE, TILE), np.float32), engine.slide(width)
    band = random.random((1, 3, slide.band, width), np.float32)

    def sliding() -> None:
        for _ in slide_down(engine.slide(width), repeat(band, ceil(height / slide.band)), height):
            pass

    def steps() -> None:
        for _ in range(8):
            slide(band, [])

    def tiles() -> None:
        for _ in range(32):
            engine(tile)

    tiles()
    steps()
    return {
        BARE: lambda: _rate(32 * TILE**2, tiles),
        STEP: lambda: _rate(8 * slide.band * width, steps),
        SLIDE: lambda: _rate(height * width, sliding),
    }


def _rate(pixels: int, run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return pixels / (time.perf_counter() - begun) / 1e6


def _products(profile: Path) -> dict[str, Rate]:
    """From the file to products, in processes of their own; the last one is timed from start to exit."""
    pixels = SIZE[0] * SIZE[1] / 1e6
    job = {"scene": str(scene(*SIZE)), "out": str(mask_of("cropland, probability")), "threads": THREADS}
    alone = json.dumps({**job, "mask": False})
    whole = own(MAP, SIZE, *_asking(profile))
    return {
        PROBABILITY: lambda: pixels / child("with_cropland.py", alone)[0],
        MASK: lambda: pixels / child("with_cropland.py", json.dumps(job))[0],
        MAP: lambda: pixels / whole()[1],
    }


def _asking(profile: Path) -> tuple[str, ...]:
    """The option for a profile, if this version has it."""
    profile.unlink(missing_ok=True)
    try:
        own(MAP, EMPTY, "--profile", str(profile))()
    except ChildError:
        return ()
    return "--profile", str(profile)


def _stages(profile: Path) -> list[dict[str, float]]:
    """What `--profile` wrote: seconds by stage, whatever the stages are called."""
    if not profile.exists():
        return []
    told = json.loads(profile.read_text(encoding="utf-8"))
    return list(told.values())  # by scene, of which there is one


def _strips(model: ModelFile) -> dict[str, float]:
    """By width: columns computed for each that is kept."""
    widths = (8192, 10980, 16384, 32768, 65536)
    strips = {width: {unit.padded for unit in cut_swaths((1, width), model).units} for width in widths}
    return {str(width): sum(strip.width for strip in strips[width]) / width for width in widths}


def _product_bytes() -> dict[str, float]:
    """Bytes per pixel of what `cropland map` wrote, by kind, and of the scene itself."""
    sizes = {path.name: path.stat().st_size for path in mask_of(MAP).parent.iterdir()}
    path = open_scene(scene(*SIZE)).files[0]
    return {name: size / (SIZE[0] * SIZE[1]) for name, size in {**sizes, "scene": path.stat().st_size}.items()}


if __name__ == "__main__":
    save("breakdown", measure)
