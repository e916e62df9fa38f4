"""Polygons against a map: seconds and peak memory as both grow, up to a million polygons on 32,768 x 32,768 pixels.

    python benchmarks compare

The polygons are fields of some 30 x 30 pixels with irregular outlines, with a path between them, of a land survey; the
map shows most of them. Each comparison is the whole command in a process of its own.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from rasterio.transform import from_origin

from places import QUICK, WORK
from processes import Runs, child, use_two_cores
from results import save

CELL, PATH = 32, 3  # pixels from field to field, and of the path between them
SIZES = (512, 1024) if QUICK else (4096, 8192, 16384, 32768)
ROUNDS = {32768: 1}
POINTS = 4  # along each edge of a field
PLACE = from_origin(500_000, 4_000_000, 2, 2)


def measure() -> dict[str, Any]:
    """By size: polygons, changes, seconds and peak memory of the whole command."""
    use_two_cores()
    print("Polygons against a map")
    with TemporaryDirectory(dir=WORK) as name:
        return {"sizes": [_of_size(size, Path(name)) for size in SIZES]}


def _of_size(size: int, folder: Path) -> dict[str, Any]:
    lost = np.random.default_rng(0).random((size // CELL, size // CELL)) < 0.02  # fields that the map does not show
    _write_map(folder / "mask.tif", lost)
    survey = folder / "survey.gpkg"
    survey.unlink(missing_ok=True)
    for number, part in enumerate(_survey(size)):
        part.to_file(survey, layer="survey", mode="a" if number else "w")
    words = ["compare", survey, folder / "mask.tif", "--out", folder / "out", "--by", "village", "--overwrite"]
    runs = Runs()
    for _ in range(1 if QUICK else ROUNDS.get(size, 3)):
        runs.add(lambda: child("whole_process.py", *map(str, words)))
    changes = len(gpd.read_parquet(folder / "out" / "changes.parquet"))
    found = {"polygons": lost.size, "lost": int(lost.sum()), "changes": changes}
    print(f"  {size:6} {runs.plain} {found}", flush=True)
    return {"height": size, "width": size, **runs.plain, **found}


def _write_map(out: Path, lost: np.ndarray) -> None:
    """Cropland but on the paths and on the fields that are lost."""
    inside = np.zeros((CELL, CELL), bool)
    inside[PATH // 2 : CELL - PATH // 2 - 1, PATH // 2 : CELL - PATH // 2 - 1] = True
    size = len(lost) * CELL
    how = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "nodata": 255}
    about = {"count": 1, "dtype": "uint8", "height": size, "width": size, "crs": "EPSG:32650", "transform": PLACE}
    with rasterio.open(out, "w", "GTiff", **about, **how) as file:
        for row, line in enumerate(lost):
            strip = (~line[:, None, None] & inside).swapaxes(0, 1).reshape(CELL, size)
            file.write(strip.astype(np.uint8), 1, window=((row * CELL, (row + 1) * CELL), (0, size)))


def _survey(size: int) -> Iterator[gpd.GeoDataFrame]:
    """The fields, line by line, each outline with points that lie a little beside its edges."""
    random, count = np.random.default_rng(1), size // CELL
    along = np.linspace(0, 1, POINTS, endpoint=False)
    square = np.concatenate(
        [
            np.column_stack(each)
            for each in ((along, 0 * along), (1 + 0 * along, along), (1 - along, 1 + 0 * along), (0 * along, 1 - along))
        ]
    )
    ring = PATH / 2 + square * (CELL - PATH)
    lines = 16
    for top in range(0, count, lines):
        rows, cols = (each.ravel() for each in np.mgrid[top : min(count, top + lines), 0:count])
        points = ring + np.stack([cols, rows], axis=1)[:, None] * CELL
        points = points + random.uniform(-0.5, 0.5, points.shape)
        x, y = PLACE @ (points[..., 0], points[..., 1])
        shapes = shapely.polygons(np.stack([x, y], axis=-1))
        village = (rows // 64 * 1000 + cols // 64).astype(str)
        table = {
            "BSM": rows * count + cols,
            "DLBM": "0103",
            "village": pd.Series(village),
            "owner": random.integers(0, 99, len(rows)),
        }
        yield gpd.GeoDataFrame(table, geometry=shapes, crs="EPSG:32650")


if __name__ == "__main__":
    save("compare", measure)
