"""Lay out what the shipped model learns from as scenes: patches and blocks of one class, labelled scenes, water.

python recipes/prepare.py DATA OUT    (DATA holds eurosat_rgb.tar, ucmerced_rgb.tar, labelled)
"""

from __future__ import annotations

import csv
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio

from cropland.geo.scene import open_scene
from cropland.geo.window import Window

WATER = 0.2  # (green - nir) / (green + nir) above: water (McFeeters 1996, doi:10.1080/01431169608948714)
LEAST_WATER = 0.02  # of a scene, for it to be of use
HELD_BACK = 5  # every fifth patch, by name, is never trained on


@dataclass(frozen=True)
class Collection:
    """Image-level labels: which classes are cropland, which never are; what is neither is left out."""

    name: str
    pixel_m: float
    crop: tuple[str, ...]
    other: tuple[str, ...]
    block: int  # patches along the edge of a block


EUROSAT = Collection(
    "eurosat", 10.0, ("AnnualCrop",), ("SeaLake", "Forest", "Residential", "Industrial", "HerbaceousVegetation"), 6
)
UCMERCED = Collection(
    "ucmerced",
    0.3,
    ("agricultural",),
    (
        "baseballdiamond",
        "beach",
        "buildings",
        "chaparral",
        "denseresidential",
        "forest",
        "freeway",
        "golfcourse",
        "harbor",
        "mediumresidential",
        "parkinglot",
        "river",
        "runway",
        "sparseresidential",
    ),
    3,
)


def main(data: Path, out: Path) -> None:
    """Write everything under `out`; what is there already is kept."""
    for collection in (EUROSAT, UCMERCED):
        extract(data / f"{collection.name}_rgb.tar", out)
        write_blocks(collection, out)
    name_scenes(data / "labelled", out / "labelled")
    write_water(out / "labelled" / "train", out / "water")


def extract(archive: Path, out: Path) -> None:
    """Unpack an archive of patches once."""
    if not (out / archive.stem).exists():
        out.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as file, TemporaryDirectory(dir=out) as folder:
            file.extractall(folder, filter="data")
            (Path(folder) / archive.stem).rename(out / archive.stem)


def patches(collection: Collection, name: str, out: Path) -> tuple[list[Path], list[Path]]:
    """The patches of a class: those to learn from and those held back."""
    found = sorted((out / f"{collection.name}_rgb" / name).glob("*.jpg"))
    return [p for i, p in enumerate(found) if i % HELD_BACK], found[::HELD_BACK]


def write_blocks(collection: Collection, out: Path) -> None:
    """Blocks of one class, patch beside patch, under blocks/train and blocks/validation."""
    for kind, classes in (("cropland", collection.crop), ("other", collection.other)):
        for name in classes:
            for side, files in zip(("train", "validation"), patches(collection, name, out), strict=True):
                folder = out / "blocks" / side / f"{collection.name}-{kind}" / name
                for number, block in enumerate(blocks(files, collection.block)):
                    write_rgb(folder / f"{collection.name}_{name}_{side}_{number}.tif", block)


def blocks(files: list[Path], edge: int) -> Iterator[np.ndarray]:
    """Squares of `edge` x `edge` patches, every patch once; what does not fill a square is left out."""
    for start in range(0, len(files) - edge * edge + 1, edge * edge):
        images = [read_rgb(path) for path in files[start : start + edge * edge]]
        side = min(min(image.shape[1:]) for image in images)
        tiles = [[image[:, :side, :side] for image in images[row * edge : (row + 1) * edge]] for row in range(edge)]
        yield np.concatenate([np.concatenate(row, axis=2) for row in tiles], axis=1)


def read_rgb(path: Path) -> np.ndarray:
    """An image as (3, height, width)."""
    with rasterio.open(path) as file:
        return file.read((1, 2, 3))


def write_rgb(path: Path, image: np.ndarray) -> None:
    """A plain RGB GeoTIFF without a place on earth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = image.shape
    profile = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": image.dtype}
    with rasterio.open(path, "w", photometric="RGB", compress="deflate", **profile) as file:
        file.write(image)


def write_water(scenes: Path, out: Path) -> None:
    """Of the scenes with near infrared the known water: 0, the rest 255; twice, under names that differ.

    It is cut once whole, to be pasted, and once in patches of open water.
    """
    for path in sorted(scenes.glob("*/*.tif")):
        with rasterio.open(path.parent / "labels" / path.name) as drawn:
            label, profile = drawn.read(1), drawn.profile
        scene = open_scene(path, pixel_m=1.0 if profile["crs"] is None else None)
        if "nir" not in scene.bands or profile["crs"] is None:
            continue
        green, nir = scene.read(Window(0, 0, *label.shape), bands=("green", "nir")).values
        is_water = ((green - nir) / np.maximum(green + nir, 1e-6) > WATER) & (label == 0)
        if is_water.mean() < LEAST_WATER:
            continue
        for kind in ("whole", "patch"):
            folder, name = out / kind, f"{kind}_water_{path.name}"
            (folder / "labels").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
            with rasterio.open(folder / "labels" / name, "w", **profile) as file:
                file.write(np.where(is_water, 0, 255).astype(np.uint8), 1)


def name_scenes(labelled: Path, out: Path) -> None:
    """The labelled scenes under names that differ, each with its label under `labels`, in a folder per place and side.

    Every file of a chip folder has the name of its scene, and many of these are called by their date alone.
    """
    with (labelled / "index.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        folder = out / row["split"] / row["place"]
        (folder / "labels").mkdir(parents=True, exist_ok=True)
        name = f"{row['place']}_{Path(row['image']).stem.removeprefix('image_')}.tif"
        shutil.copyfile(labelled / row["image"], folder / name)
        shutil.copyfile(labelled / row["label"], folder / "labels" / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
