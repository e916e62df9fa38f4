"""Suggested windows against as many random ones: which labels help a model more.

    python benchmarks suggest                                 half an hour on two cores, after recipes/cropland_rgb.py
                                                              has cut its chips
    CROPLAND_BENCH_QUICK=1 python benchmarks suggest          two minutes, to see whether all runs

The start is a model that was trained without NAIP, as benchmarks/tune.py makes it. Tiles of `naip_us` are put beside
each other as one scene. Ten windows of it are labelled with the masks that were drawn, either those that
`cropland suggest` gives or ten at random that do not touch each other, and the start model is tuned on them. Both
models are then measured on the rest of the scene, without the windows of either, and on the tiles of `val_MN_north`.
Every seed draws other random windows and tunes anew.
"""

import csv
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import rasterio
from geopandas import GeoDataFrame
from rasterio.transform import from_origin
from scipy.stats import t as student

import cropland
from cropland.data.chips import ChipFolder, open_chips
from cropland.data.cut import windows
from cropland.geo.scene import Scene, open_scene
from cropland.geo.window import Window
from cropland.model import default_model
from places import QUICK, ROOT, WORK
from processes import use_two_cores
from results import save
from tune import SAMPLE, without_naip

DATA = Path(os.environ.get("CROPLAND_DATA", ROOT.parent / "shared" / "data")) / "naip_us"
EDGE = 1024  # pixels of a tile
ROWS, COLUMNS, TESTS = (2, 2, 1) if QUICK else (3, 4, 4)  # tiles
N, SIZE = (4 if QUICK else 10), 256
SEEDS = range(2 if QUICK else 5)
TUNED = ["training.epochs=1", "training.chips_per_epoch=16"] if QUICK else []


def tune(model: Path, chips: Path, out: Path, seed: int) -> Path:
    """As `cropland train --tune` does."""
    cropland.tune(model, chips, out, set=[f"training.seed={seed}", *TUNED])
    return out / "model.safetensors"


def measure() -> dict[str, Any]:
    """IoU before and after, by seed and choice, and the differences with their 95 % intervals over the seeds."""
    if not DATA.exists():
        sys.exit(f"no {DATA}; name the folder of the data with CROPLAND_DATA")
    use_two_cores()
    folder = WORK / ("suggest-quick" if QUICK else "suggest")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (DATA / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["id"], row["split"]) for row in csv.DictReader(file)]
    own = [name for name, split in rows if split == "train_midwest"]
    held_out = [name for name, split in rows if split == "val_MN_north" and name != SAMPLE][:TESTS]
    there = own[1::2][: ROWS * COLUMNS]  # every other one, since tiles of one place follow each other
    scene, mask = side_by_side(there, folder / "scene", columns=COLUMNS)
    start = default_model() if QUICK else without_naip().path
    assert start is not None
    cropland.cut_chips(scene, mask, folder / "all", size=SIZE, validation=1)
    cropland.cut_chips(*side_by_side(held_out, folder / "tests", columns=1), folder / "tests_chips", validation=1)
    whole, tests = open_chips(folder / "all"), open_chips(folder / "tests_chips")
    opened = open_scene(scene)
    suggested = [*cropland.suggest(opened, n=N, model=start, size=SIZE).chosen]
    runs = []
    for seed in SEEDS:
        choices = {"suggested": suggested, "random": at_random(opened.shape, len(suggested), seed)}
        rest = without(whole, [each for some in choices.values() for each in some])
        run: dict[str, Any] = {"seed": seed, "start": iou_on(start, rest)}
        for name, chosen in choices.items():
            out = folder / f"{name}-{seed}"
            chips = label(opened, mask, chosen, out)
            tuned = tune(start, chips, out / "run", seed)
            run[name] = {"scene": iou_on(tuned, rest), "tests": iou_on(tuned, tests)}
            print(f"  seed {seed}, {name}: {run[name]}", flush=True)
        runs.append(run)
    return {
        "windows": len(suggested),
        "size": SIZE,
        "tiles": len(there),
        "start": {"scene": fmean(run["start"] for run in runs), "tests": iou_on(start, tests)},
        "runs": runs,
        "differences": {
            where: interval([run["suggested"][where] - run["random"][where] for run in runs])
            for where in ("scene", "tests")
        },
    }


def side_by_side(names: Sequence[str], out: Path, *, columns: int) -> tuple[Path, Path]:
    """The tiles and their masks as one scene of pixels of a metre, row by row, and one mask, each with a place."""
    rows = -(-len(names) // columns)
    image = np.zeros((3, rows * EDGE, columns * EDGE), np.uint8)
    mask = np.full((1, *image.shape[1:]), 255, np.uint8)
    for number, name in enumerate(names):
        part = Window(number // columns * EDGE, number % columns * EDGE, EDGE, EDGE).slices
        for whole, kind in ((image, "images"), (mask, "masks")):
            with rasterio.open(DATA / kind / f"{name}.png") as file:
                whole[:, *part] = file.read(range(1, len(whole) + 1))
    paths = out.with_name(f"{out.name}.tif"), out.with_name(f"{out.name}_mask.tif")
    # Scenes lie far from each other, so that none is taken for the ground of another's training.
    place = from_origin(400_000 + 20_000 * (sum(map(ord, out.name)) % 20), 5_000_000, 1, 1)
    for path, values, names_of in zip(paths, (image, mask), (("red", "green", "blue"), ("cropland",)), strict=True):
        about = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": "uint8"}
        with rasterio.open(path, "w", "GTiff", **about, crs="EPSG:32615", transform=place, compress="deflate") as file:
            file.write(values)
            file.descriptions = names_of
    return paths


def at_random(shape: tuple[int, int], count: int, seed: int) -> list[Window]:
    """Windows that do not touch each other, as the suggested ones do not: so they can be split for validation too."""
    lattice, taken = windows(shape, size=SIZE), list[Window]()
    for number in np.random.default_rng(seed).permutation(len(lattice)):
        one = lattice[number]
        if len(taken) < count and all(max(abs(one.row - at.row), abs(one.col - at.col)) >= 2 * SIZE for at in taken):
            taken.append(one)
    return taken


def label(scene: Scene, mask: Path, chosen: Sequence[Window], out: Path) -> Path:
    """Chips of these windows alone."""
    outlines = [scene.grid[window.slices].extent.geom for window in chosen]
    out.mkdir()
    GeoDataFrame(geometry=outlines, crs=str(scene.grid.crs)).to_file(out / "windows.gpkg")
    cropland.cut_chips(scene, mask, out / "chips", inside=out / "windows.gpkg", size=SIZE, validation=0.2)
    return out / "chips"


def without(chips: ChipFolder, chosen: Sequence[Window]) -> ChipFolder:
    """The chips that lie in none of these windows."""
    corners = {(window.row, window.col) for window in chosen}
    kept = [(row, col) not in corners for row, col in zip(chips.index["row"], chips.index["col"], strict=True)]
    return replace(chips, index=chips.index[kept].reset_index(drop=True))


def iou_on(model: Path, chips: ChipFolder) -> float:
    """Of all pixels of these chips."""
    found = cropland.evaluate(model, chips=chips, split="all").iou
    assert found is not None, "there is cropland in the chips"
    return found


def interval(differences: Sequence[float]) -> dict[str, float]:
    """The mean and its 95 % interval by Student's distribution: seeds are few."""
    mean, count = fmean(differences), len(differences)
    half = float(student.ppf(0.975, count - 1)) * stdev(differences) / count**0.5
    return {"mean": mean, "low": mean - half, "high": mean + half}


if __name__ == "__main__":
    save("suggest", measure)
