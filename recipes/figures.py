"""The figures of the model's card, from the model, the validation chips and the data.

    python recipes/figures.py [MODEL]           the table of the card; the model that ships if none is named
    python recipes/figures.py [MODEL] --once    and the east of the Chinese plain, which is a test: look at it once

Needs the chips that recipes/cropland_rgb.py cuts into runs/chips. Data in ../shared/data or CROPLAND_DATA.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio.windows import Window

import cropland
from cropland.data.chips import Chip, ChipFolder, open_chips
from cropland.evaluation.counts import Counts, count
from cropland.evaluation.evaluate import Evaluation
from cropland.evaluation.judge import Judge, only_bands
from cropland.model import ModelFile, default_model
from cropland.probability import classes
from cropland.training.validate import predictor
from prepare import WATER

DATA = Path(os.environ.get("CROPLAND_DATA", "../shared/data"))
PATCHES = ("eurosat-", "ucmerced-")
CROP = ("eurosat-AnnualCrop", "ucmerced-agricultural")
DELMARVA, SEA_FROM = DATA / "scenes" / "s2_delmarva" / "s2_l1c_b02_b03_b04_b08_uint16.tif", 1298  # column
CHINA = {"validates": (0, 1800), "once": (1856, 2336)}  # columns; nothing was ever trained on either


def main(words: list[str]) -> None:
    """Print the table."""
    named = [word for word in words if not word.startswith("--")]
    path = Path(named[0]) if named else default_model()
    places, dates = on_chips(ModelFile.load(path), open_chips("runs/chips").where(split="validation"))
    print("| what | figure |\n|---|---|")
    rows = {**fields(path), **of_places(places), **of_patches(places), **of_dakota(dates), **sea(path)}
    parts = CHINA if "--once" in words else ["validates"]
    for name, figure in {**rows, **{f"a Chinese plain at 1 m, {part}": china(path, part) for part in parts}}.items():
        print(f"| {name} | {figure} |")


def on_minnesota(path: Path) -> Evaluation:
    """The five tiles of `val_MN_north`, mapped, against their polygons."""
    naip, model = DATA / "naip_us", cropland.Model.open(path)
    with TemporaryDirectory() as out:
        for number in range(35, 40):
            scene = cropland.open(naip / "images" / f"naip_{number}.png", crs="EPSG:4326")
            cropland.map(scene, Path(out) / scene.name, model=model)
        return cropland.evaluate(out, labels=naip / "fields.gpkg", background="known")


def fields(path: Path) -> dict[str, str]:
    """Pixels and fields of `val_MN_north`."""
    found = on_minnesota(path)
    its = found["pooled"]["fields"]
    parts = ", ".join(
        f"{name.replace('_', ' ')} {its[name]:.3f}" for name in ("under_segmentation", "over_segmentation")
    )
    return {
        "val_MN_north, IoU": f"{found.iou:.3f}",
        "val_MN_north, fields": f"F1@0.5 {its['f1']:.3f}, F1 0.5 to 0.95 {its['f1_50_95']:.3f}, {parts}",
    }


def on_chips(model: ModelFile, folder: ChipFolder) -> tuple[dict[str, Counts], dict[str, tuple[Chip, np.ndarray]]]:
    """Counts by place, each chip at the working pixel nearest to its own; and North Dakota's chips with their masks."""
    judge = Judge(model, predictor(model.network()), ())
    places: dict[str, Counts] = defaultdict(Counts)
    dates = {}
    for number in range(len(folder)):
        chip = only_bands(folder.read(number), folder.bands, model.bands)
        levels, threshold = judge.probability(chip)
        mask = classes(threshold)[levels]
        places[chip.group] += count(mask, chip.target)
        if chip.group == "north_dakota":
            dates[chip.id] = chip, mask
    return places, dates


def of_places(places: Mapping[str, Counts]) -> dict[str, str]:
    """The labelled places that validate."""
    labelled = {name: its for name, its in places.items() if not name.startswith(PATCHES) and name != "naip"}
    mixed = {name: its.iou for name, its in labelled.items() if has_both(its)}
    worst = min(mixed, key=lambda name: mixed[name])
    listed = ", ".join(f"{name} {iou:.3f}" for name, iou in sorted(mixed.items()))
    return {
        "places, mean IoU": f"{fmean(mixed.values()):.3f}",
        "places, worst": f"{mixed[worst]:.3f} ({worst})",
        "places, each": listed,
        **{f"{name}, called cropland": f"{its.false_alarm:.2%}" for name, its in labelled.items() if name not in mixed},
    }


def has_both(its: Counts) -> bool:
    """Whether there is cropland to be found, of which an IoU says something."""
    return its.tp + its.fn > 0.01 * its.total


def of_patches(places: Mapping[str, Counts]) -> dict[str, str]:
    """Blocks of patches of one class that were held back."""
    found = {name: its for name, its in places.items() if name.startswith(PATCHES)}
    return {
        **{f"{name}, found": f"{found[name].recall:.1%}" for name in CROP},
        **{f"{name}, called cropland": f"{its.false_alarm:.1%}" for name, its in found.items() if name not in CROP},
    }


def of_dakota(dates: Mapping[str, tuple[Chip, np.ndarray]]) -> dict[str, str]:
    """Each date of North Dakota: against its label, and its water, which near infrared tells."""
    rows = {}
    for name, (chip, mask) in dates.items():
        its = count(mask, chip.target)
        with rasterio.open(DATA / "labelled" / "north_dakota" / f"image_{name.split('_')[-1]}.tif") as file:
            green, nir = file.read([2, 4]).astype(np.float32)
        is_water = water(green, nir) & (chip.target == 0)
        called = f"water called cropland {(mask[is_water] == 1).mean():.2%}"
        rows[name.replace("_", " ")] = f"IoU {its.iou:.3f}, cropland found {its.recall:.1%}, {called}"
    return rows


def water(green: np.ndarray, nir: np.ndarray) -> np.ndarray:
    """Where near infrared tells water, by the NDWI."""
    return (green - nir) / np.maximum(green + nir, 1) > WATER


def sea(path: Path) -> dict[str, str]:
    """The sea of Delmarva in the columns that are kept out of training."""
    with TemporaryDirectory() as out:
        cropland.map(DELMARVA, Path(out) / "map", model=cropland.Model.open(path))
        with rasterio.open(DELMARVA) as scene, rasterio.open(Path(out) / "map" / "mask.tif") as mask:
            window = Window(SEA_FROM, 0, scene.width - SEA_FROM, scene.height)
            green, nir = scene.read([2, 4], window=window).astype(np.float32)
            called = mask.read(1, window=window)[water(green, nir)] == 1
    return {"sea of Delmarva, called cropland": f"{called.mean():.2%}"}


def china(path: Path, part: str) -> str:
    """A part of the Chinese plain at 1 m: red, green and blue."""
    folder = DATA / "gf_china"
    with TemporaryDirectory() as name:
        for layer in ("scene_int16", "label_cropland"):
            _cut(folder / f"{layer}.tif", Path(name) / f"{layer}.tif", CHINA[part])
        scene = cropland.open(
            Path(name) / "scene_int16.tif", bands={"blue": 1, "green": 2, "red": 3, "nir": 4}, pixel_m=1.0
        )
        cropland.map(scene, Path(name) / "map", model=cropland.Model.open(path))
        with (
            rasterio.open(Path(name) / "map" / "mask.tif") as mask,
            rasterio.open(Path(name) / "label_cropland.tif") as label,
        ):
            its = count(mask.read(1), label.read(1))
    return f"IoU {its.iou:.3f}, precision {its.precision:.3f}, recall {its.recall:.3f}"


def _cut(source: Path, out: Path, columns: tuple[int, int]) -> None:
    with rasterio.open(source) as file:
        window = Window(columns[0], 0, columns[1] - columns[0], file.height)
        profile = {**file.profile, "driver": "GTiff", "width": window.width}
        with rasterio.open(out, "w", **profile) as target:
            target.write(file.read(window=window))


if __name__ == "__main__":
    main(sys.argv[1:])
