"""Scenes of any size: the sample that ships and its mirror images, 4 bands of uint16."""

from pathlib import Path

import numpy as np
import rasterio

from cropland.demo import FOLDER
from places import WORK

SAMPLE = FOLDER / "sentinel2_delmarva.tif"
EMPTY = (64, 64)  # a run that loads, opens and writes all, and computes next to nothing


def scene(height: int, width: int) -> Path:
    """The scene of that size, written once, and read from the disk, whose speed is not measured."""
    path = WORK / "scenes" / f"{height}x{width}.tif"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_suffix(".part.tif")
        write_scene(hidden, height, width)
        hidden.rename(path)
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    return path


def write_scene(path: Path, height: int, width: int) -> None:
    """The sample and its mirror images."""
    with rasterio.open(SAMPLE) as file:
        small, profile, names = file.read(), file.profile, file.descriptions
    rows, columns = (mirrored(length, own) for length, own in zip((height, width), small.shape[1:], strict=True))
    profile.update(height=height, width=width, tiled=True, blockxsize=512, blockysize=512, BIGTIFF="IF_SAFER")
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, height, 512):
            block = small[:, rows[top : top + 512]][:, :, columns]
            file.write(block, window=((top, top + block.shape[1]), (0, width)))
        file.descriptions = names


def mirrored(length: int, own: int) -> np.ndarray:
    """Which of `own` rows (or columns) each of `length` shows, back and forth."""
    return np.pad(np.arange(own), (0, max(0, length - own)), mode="symmetric")[:length]
