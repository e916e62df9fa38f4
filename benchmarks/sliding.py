"""The shipped network sliding down a scene, against the same network on tiles.

    python benchmarks/sliding.py

Prints what is kept, megapixels per second of a step and of lone tiles (in turn, medians of five), how far each way of
computing is from torch in single precision, and seconds and peak memory of the probability of scenes of growing height.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from scipy.special import expit

from cropland.demo import FOLDER
from cropland.engines.openvino import open_engine as open_openvino
from cropland.engines.torch import open_engine as open_torch
from cropland.model import Model, default_model
from cropland.streaming.slide import slide_down

ROUNDS, CALLS, TILE = 5, 4, 512
WIDTHS = (2048, 4096, 8192)
HEIGHTS = (2048, 4096, 8192, 16384)
CHILD = """
import json, sys, time
from pathlib import Path
from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.mapping.radiometry import choose_statistics
from cropland.mapping.sliding import slide_or_tile
from cropland.mapping.working import Plane, cut_tiles, fill_plane
from cropland.model import Model, default_model
scene, model, way = open_scene(sys.argv[1]), Model.load(default_model()), sys.argv[2]
statistics, engine = choose_statistics(scene, model, None), open_engine(model)
plane = Plane(Path(sys.argv[1]).with_suffix("." + way), scene.shape)
how = {"engine": engine, "statistics": statistics, "ratio": 1.0, "advance": lambda pixels: None}
begun = time.perf_counter()
if way == "sliding":
    slide_or_tile(plane, scene, model, **how)
else:
    fill_plane(plane, scene, cut_tiles(plane.shape, model), **how)
seconds = time.perf_counter() - begun
status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would tell of the parent too
print(json.dumps([seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1e3]))
"""


def speed(model: Model, precision: str) -> None:
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
    rates = {name: [] for name in runs}
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


def parity(model: Model) -> None:
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        image = file.read([3, 2, 1]).astype(np.float32)
    low, high = (np.percentile(image, each, axis=(1, 2), keepdims=True) for each in (2, 98))
    image = np.pad((image - low) / (high - low), ((0, 0), (0, 1000), (0, 0)), mode="symmetric").clip(-0.5, 1.5)[None]
    image = image.astype(np.float32)
    true = expit(open_torch(model, precision="f32")(image))
    threshold = model.nearest_pixel(10.0).threshold
    for precision in ("f32", "fastest"):
        engine = open_openvino(model, precision=precision)
        slide = engine.slide(image.shape[3])
        bands = np.split(image, range(slide.band, image.shape[2], slide.band), axis=2)
        ways = {"at once": engine(image), "sliding": np.concatenate(list(slide_down(slide, bands, image.shape[2])), 2)}
        for way, logits in ways.items():
            apart, changed = np.abs(expit(logits) - true), (expit(logits) >= threshold) != (true >= threshold)
            told = f"{apart.max():.1e} at most, {apart.mean():.1e} on average, {changed.mean():.3%}"
            print(f"  {precision:8} {way:8} {told}")


def write_scene(path: Path, height: int, width: int) -> None:
    """The sample and its mirror images."""
    with rasterio.open(FOLDER / "sentinel2_delmarva.tif") as file:
        small, profile, names = file.read(), file.profile, file.descriptions
    rows = np.pad(np.arange(small.shape[1]), (0, max(0, height - small.shape[1])), mode="symmetric")[:height]
    columns = np.pad(np.arange(small.shape[2]), (0, max(0, width - small.shape[2])), mode="symmetric")[:width]
    profile.update(height=height, width=width, tiled=True, blockxsize=512, blockysize=512)
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, height, 512):
            block = small[:, rows[top : top + 512]][:, :, columns]
            file.write(block, window=((top, top + block.shape[1]), (0, width)))
        file.descriptions = names


def growth(width: int) -> None:
    with TemporaryDirectory() as folder:
        for height in HEIGHTS:
            path = Path(folder) / f"{height}.tif"
            write_scene(path, height, width)
            for way in ("sliding", "tiles"):
                if way == "tiles" and height > 4096:
                    continue  # minutes, and nothing new
                done = subprocess.run(
                    [sys.executable, "-c", CHILD, str(path), way], capture_output=True, encoding="utf-8", check=True
                )
                seconds, peak = json.loads(done.stdout)
                rate = f"{height * width / seconds / 1e6:5.2f} Mpx/s"
                print(f"  {height:6} x {width}, {way:8} {seconds:6.1f} s, {rate}, peak of the process {peak:,.0f} MB")


def main() -> None:
    model = Model.load(default_model())
    print("Megapixels per second")
    for precision in ("fastest", "f32"):
        speed(model, precision)
    print("Probability, against torch in single precision: difference, pixels of another class")
    parity(model)
    print("The probability of a whole scene")
    growth(4096)


if __name__ == "__main__":
    main()
