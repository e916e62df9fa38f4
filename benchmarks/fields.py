"""Fields against fields: seconds and peak memory of a comparison of two files, which are read by cells.

    python benchmarks/fields.py

The reference is a plain of fields of 4 ha with some 30 vertices. The predicted ones have other edges; one in twenty is
missing, one in ten is cut in two, and one in twenty is united with its neighbour. Each run is a process of its own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from cropland.writers.vector import write_geopackage, write_geoparquet
from places import QUICK, THREADS, WORK
from processes import Runs, child, use_two_cores
from results import save

FIELD_M = 200.0
EAST, NORTH = 300_000.0, 4_000_000.0
SIDES = (30,) if QUICK else (100, 1000)  # fields along the edge of the plain
BLOCK, CELL = 64, 50  # fields along the edge of a group of rows in the file, and of a cell
ROUNDS = 1 if QUICK else 3
WRITERS = {"parquet": write_geoparquet, "gpkg": write_geopackage}


def measure() -> dict[str, Any]:
    """By number of fields and format: runs in two threads, and what was found."""
    use_two_cores()
    print("Fields")
    WORK.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=WORK) as name:
        return {"sizes": [_of_size(side, kind, Path(name)) for side in SIDES for kind in WRITERS]}


def _of_size(side: int, kind: str, folder: Path) -> dict[str, Any]:
    predicted, reference, runs = folder / f"predicted.{kind}", folder / f"reference.{kind}", Runs()
    WRITERS[kind](_blocks(side, predicted=True), predicted)
    WRITERS[kind](_blocks(side, predicted=False), reference)
    extent = (EAST, NORTH, EAST + side * FIELD_M, NORTH + side * FIELD_M)
    job = {"predicted": str(predicted), "reference": str(reference), "extent": extent, "threads": THREADS}
    for _ in range(ROUNDS if side <= 100 else 1):
        runs.add(lambda: child("with_fields.py", json.dumps({**job, "size": CELL * FIELD_M, "out": str(folder)})))
    found = {} if runs.missing else json.loads((folder / "found.json").read_text(encoding="utf-8"))
    print(f"  {side**2:9,} {kind:8} {runs.plain} {found}", flush=True)
    return {"fields": side**2, "format": kind, **runs.plain, **found}


def _blocks(side: int, *, predicted: bool) -> Iterator[gpd.GeoDataFrame]:
    """The fields of a plain, block by block."""
    for top in range(0, side, BLOCK):
        for left in range(0, side, BLOCK):
            rows, columns = (np.arange(first, min(first + BLOCK, side)) for first in (top, left))
            row, column = (each.ravel() for each in np.meshgrid(rows, columns, indexing="ij"))
            yield gpd.GeoDataFrame(geometry=_fields(row, column, predicted=predicted), crs=32650)


def _fields(row: np.ndarray, column: np.ndarray, *, predicted: bool) -> np.ndarray:
    """Squares with wavy edges; what becomes of a field goes by its place."""
    fate = (row * 7 + column) % 20 if predicted else np.full(len(row), 19)
    west, south, width = EAST + column * FIELD_M, NORTH + row * FIELD_M, np.full(len(row), FIELD_M)
    width[fate == 1] *= 2  # united with the next, which is left out as 2; 0 is missing
    halves = np.isin(fate, (4, 5))
    width[halves] /= 2
    kept = ~np.isin(fate, (0, 2))
    west = np.concatenate([west[kept], west[halves] + FIELD_M / 2])
    south, width = (np.concatenate([each[kept], each[halves]]) for each in (south, width))
    squares = shapely.box(west, south, west + width - 4, south + FIELD_M - 4)
    phase = 2.0 * predicted

    def warp(places: np.ndarray) -> np.ndarray:
        x, y = places.T
        return places + 3 * np.stack([np.sin(y / 40 + phase) + np.sin(x / 170), np.sin(x / 50 - phase)], axis=1)

    return shapely.transform(shapely.segmentize(squares, FIELD_M / 8), warp)


if __name__ == "__main__":
    save("fields", measure)
