"""A small real chip folder: bright squares are cropland."""

from pathlib import Path

import geopandas as gpd
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from cropland.data.boundary import boundary_distance
from cropland.data.chips import ChipFolder, open_chips, write_chip, write_index
from cropland.geo.scene import Image

SIZE = 64


def write_chips(folder: Path, *, train: int = 6, validation: int = 2) -> ChipFolder:
    """Chips whose label is a square, brighter than its noisy surroundings."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(3)
    sides = ["train"] * train + ["validation"] * validation
    rows = [_write(folder, number, side, rng) for number, side in enumerate(sides)]
    write_index(folder, gpd.GeoDataFrame(rows, geometry="geometry", crs=4326), {"bands": ["red", "green", "blue"]})
    return open_chips(folder)


def _write(folder: Path, number: int, side: str, rng: np.random.Generator) -> dict[str, object]:
    target = np.zeros((SIZE, SIZE), np.uint8)
    row, col = rng.integers(4, 24, 2)
    target[row : row + 30, col : col + 32] = 1
    values = (rng.normal(60, 12, (3, SIZE, SIZE)) + 80 * target).astype(np.float32)
    image = Image(values, np.ones(target.shape, bool))
    grid = GeoBox(target.shape, Affine.translation(0, 0), None)
    how = {"boundary": boundary_distance(target, target.astype(np.int32)), "dtype": np.dtype("float32")}
    paths = write_chip(folder, f"c{number}", image, target, grid=grid, bands=("red", "green", "blue"), **how)
    share = float(target.mean())
    about = {"id": f"c{number}", "source": f"s{number}", "group": f"g{number % 2}", "split": side, "block": 0}
    shape = {"pixel_m": 2.0, "row": 0, "col": 0, "height": SIZE, "width": SIZE}
    shares = {"share_cropland": share, "share_other": 1 - share, "share_unknown": 0.0}
    return {**about, **paths, **shape, **shares, "low": [30.0] * 3, "high": [160.0] * 3, "geometry": None}
