"""Lay out what the shipped model learns from as scenes: patches, blocks of one class, water by index.

python recipes/prepare.py DATA OUT    (DATA holds naip_us, s2_korea, eurosat_rgb.tar, ucmerced_rgb.tar, scenes)
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

HELD_BACK = 5  # every fifth patch, by name, is never trained on
WATER = 0.2  # (green - nir) / (green + nir) above: water (McFeeters 1996, doi:10.1080/01431169608948714)


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
    write_water(data / "scenes", out / "water")


def extract(archive: Path, out: Path) -> None:
    """Unpack an archive of patches once."""
    if not (out / archive.stem).exists():
        with tarfile.open(archive) as file:
            file.extractall(out, filter="data")


def patches(collection: Collection, name: str, out: Path) -> tuple[list[Path], list[Path]]:
    """The patches of a class: those to learn from and those held back."""
    found = sorted((out / f"{collection.name}_rgb" / name).glob("*.jpg"))
    return [p for i, p in enumerate(found) if i % HELD_BACK], found[::HELD_BACK]


def write_blocks(collection: Collection, out: Path) -> None:
    """Blocks of one class, patch beside patch, under blocks/train and blocks/validation."""
    for kind, classes in (("crop", collection.crop), ("other", collection.other)):
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
    """For scenes with near infrared: the scene as RGB and a raster label, 0 water, 255 unknown.

    North Dakota 2019 and the eastern third of Delmarva are written to `check`, the rest to `learn`.
    """
    for path in sorted((scenes / "naip_north_dakota").glob("*.tif")):
        write_labelled(path, out / ("check" if "2019" in path.name else "learn"), rgb=(1, 2, 3))
    delmarva = scenes / "s2_delmarva" / "s2_l1c_b02_b03_b04_b08_uint16.tif"
    write_labelled(delmarva, out / "learn", rgb=(3, 2, 1), columns=(0, 2 / 3))
    write_labelled(delmarva, out / "check", rgb=(3, 2, 1), known=(2 / 3, 1))
    write_labelled(next((scenes / "s2_austria").glob("*.tif")), out / "learn", rgb=(1, 2, 3))


def write_labelled(
    path: Path,
    out: Path,
    *,
    rgb: tuple[int, ...],
    columns: tuple[float, float] = (0, 1),
    known: tuple[float, float] = (0, 1),
) -> None:
    """The `columns` (shares of the width) of a scene as RGB; its water, within the columns `known`, under `labels`."""
    (out / "labels").mkdir(parents=True, exist_ok=True)
    with rasterio.open(path) as file:
        left, right = (round(file.width * share) for share in columns)
        window = Window(left, 0, right - left, file.height)
        profile = {**file.profile, "width": window.width, "transform": file.window_transform(window)}
        profile |= {"driver": "GTiff", "compress": "deflate", "nodata": None}
        image = file.read(rgb, window=window)
        green, nir = file.read((2, 4), window=window).astype(np.float32)
    water = np.where((green - nir) / np.maximum(green + nir, 1) > WATER, 0, 255).astype(np.uint8)
    first, last = (round(window.width * share) for share in known)
    water[:, :first] = water[:, last:] = 255
    with rasterio.open(out / path.name, "w", **{**profile, "count": 3, "photometric": "RGB"}) as file:
        file.write(image)
        file.descriptions = ("red", "green", "blue")
    labels = {**profile, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(out / "labels" / path.name, "w", **labels) as file:
        file.write(water, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
