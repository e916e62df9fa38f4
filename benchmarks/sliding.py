"""The shipped network sliding down a scene, against the same network on tiles.

    python benchmarks/sliding.py

Tells what is kept, megapixels per second of a step and of lone tiles (in turn, medians of five), how far each way of
computing is from torch in single precision, and seconds and peak memory of the probability of scenes of growing height.
"""

import json
import time
from statistics import median
from typing import Any

import numpy as np
import rasterio
from scipy.special import expit

from cropland.engines.openvino import open_engine as open_openvino
from cropland.engines.torch import open_engine as open_torch
from cropland.model import ModelFile, default_model
from cropland.streaming.slide import slide_down
from peers import mask_of
from places import QUICK, ROUNDS, THREADS
from processes import child, use_two_cores
from results import save
from scenes import SAMPLE, scene

CALLS, TILE = 4, 512
WIDTHS = (2048, 4096, 8192)
GROWING = (
    {"sliding": (2048,)} if QUICK else {"sliding": (2048, 4096, 8192, 16384), "tiles": (2048, 4096)}
)  # in taller ones tiles take minutes


def measure() -> dict[str, Any]:
    """Speed and parity by precision, and growth with the height."""
    use_two_cores()
    model = ModelFile.load(default_model())
    print("Megapixels per second")
    rates = {precision: speed(model, precision) for precision in ("fastest", "f32")}
    print("Probability, against torch in single precision: difference, pixels of another class")
    apart = parity(model)
    print("The probability of a whole scene")
    return {"rates": rates, "parity": apart, "growth": growth(4096)}


def speed(model: ModelFile, precision: str) -> dict[str, list[float]]:
    """Megapixels per second, in turn."""
    engine, random = open_openvino(model, precision=precision), np.random.default_rng(0)
    tile = random.random((1, 3, TILE, TILE), np.float32)
    slides = {width: engine.slide(width) for width in WIDTHS}
    for width, slide in slides.items():
        kept = sum(each.nbytes for each in slide.schedule.first(width)) / 1e6
        told = f"{slide.schedule.delay} rows behind the image, {kept:.0f} MB of rows kept (as float32)"
        print(f"  {precision:8} width {width}: {told}")
    runs = {f"lone tiles of {TILE}": (lambda: engine(tile), TILE**2)}
    for width, slide in slides.items():
        band, masks = random.random((1, 3, slide.band, width), np.float32), slide.schedule.masks(9, slide.band, 10**6)
        runs[f"step, width {width}"] = (lambda s=slide, b=band: s(b, []), slide.band * width)
        runs[f"step, width {width}, at an edge"] = (lambda s=slide, b=band, m=masks: s(b, m), slide.band * width)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, (run, pixels) in runs.items():
            run()  # the caches hold what the one before needed
            begun = time.perf_counter()
            for _ in range(CALLS):
                run()
            rates[name] += [CALLS * pixels / (time.perf_counter() - begun) / 1e6] * (number > 0)
    bare = rates[f"lone tiles of {TILE}"]
    for name, its in rates.items():
        share = median(a / b for a, b in zip(its, bare, strict=True))
        print(f"  {precision:8} {name:30} {median(its):5.2f} Mpx/s, {share:.2f} of lone tiles")
    return rates


def parity(model: ModelFile) -> list[dict[str, Any]]:
    """Largest and mean difference of a probability, and the share of pixels that change class."""
    with rasterio.open(SAMPLE) as file:
        image = file.read([3, 2, 1]).astype(np.float32)
    low, high = (np.percentile(image, each, axis=(1, 2), keepdims=True) for each in (2, 98))
    image = np.pad((image - low) / (high - low), ((0, 0), (0, 1000), (0, 0)), mode="symmetric").clip(-0.5, 1.5)[None]
    image = image.astype(np.float32)
    true = expit(open_torch(model, precision="f32")(image))
    threshold = model.nearest_pixel(10.0).threshold
    found = []
    for precision in ("f32", "fastest"):
        engine = open_openvino(model, precision=precision)
        slide = engine.slide(image.shape[3])
        bands = np.split(image, range(slide.band, image.shape[2], slide.band), axis=2)
        ways = {"at once": engine(image), "sliding": np.concatenate(list(slide_down(slide, bands, image.shape[2])), 2)}
        for way, logits in ways.items():
            apart, changed = np.abs(expit(logits) - true), (expit(logits) >= threshold) != (true >= threshold)
            figures = {"largest": float(apart.max()), "mean": float(apart.mean()), "changed": float(changed.mean())}
            found.append({"precision": precision, "way": way, **figures})
            print(f"  {found[-1]}")
    return found


def growth(width: int) -> list[dict[str, Any]]:
    """Seconds and peak of the process, by height and way."""
    found = []
    for way, heights in GROWING.items():
        for height in heights:
            job = {"scene": str(scene(height, width)), "out": str(mask_of("sliding")), "threads": THREADS}
            words = json.dumps({**job, "mask": False, "tiles": way == "tiles"})
            seconds, _, peak = child("with_cropland.py", words)
            found.append({"way": way, "height": height, "width": width, "seconds": seconds, "peak_mb": peak})
            print(f"  {found[-1]}")
    return found


if __name__ == "__main__":
    save("sliding", measure)
