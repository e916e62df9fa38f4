"""From a mask and a boundary to fields: milliseconds per megapixel beside the parcels of the mask alone.

    python benchmarks/field_instances.py

Draws a plain of fields of some 4 ha at 1 m, with lines of four pixels that have gaps and noise, and mirrors nothing:
every cell differs. Fields are found in two threads, each run in a process of its own; the goal is 150 ms a megapixel.
Last come the bytes of memory for one more field, of 4 x 4 pixels, where fields are large enough and where all are too
small and are united.
"""

import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.parcels.instances import FieldRule, find_fields
from cropland.parcels.parcels import CELL
from places import QUICK, THREADS, WORK
from processes import Runs, child, use_two_cores
from results import save

SIZES = (1024,) if QUICK else (2048, 4096, 8192)
SMALL = (2048, 3072)  # pixels along the edges of the lattices whose memory is compared
FIELD = 200  # pixels along the edge of a field, on average
ROUNDS = 1 if QUICK else 3


def measure() -> dict[str, Any]:
    """By size: fields and parcels, the milliseconds per megapixel of both, and peak memory."""
    use_two_cores()
    print("Field instances")
    WORK.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=WORK) as name:
        found: dict[str, Any] = {"sizes": [_of_size(size, Path(name)) for size in SIZES]}
        for what, least_m2 in (("bytes_per_field", 1.0), ("bytes_per_small_field", 40.0)):
            few, many = (_peak_bytes(size, least_m2, Path(name)) for size in SMALL)
            found[what] = round((many - few) / ((SMALL[1] // 4) ** 2 - (SMALL[0] // 4) ** 2))
            print(f"  {what} {found[what]}", flush=True)
    return found


def _peak_bytes(size: int, least_m2: float, folder: Path) -> int:
    """The memory at most while the fields of a lattice of 4 x 4 pixels are found."""
    boundary = np.zeros((size, size), np.uint8)
    boundary[::4] = boundary[:, ::4] = 200
    _write(folder, np.ones_like(boundary), boundary)
    tracemalloc.start()
    how: dict[str, Any] = {"unit_m": None, "cell": CELL, "spread": map}
    files = (folder / f"{name}.tif" for name in ("mask", "boundary", "fields"))
    find_fields(*files, rule=FieldRule(64, 0, least_m2), **how)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _of_size(size: int, folder: Path) -> dict[str, Any]:
    _write_plain(size, folder)
    found: dict[str, Any] = {"height": size, "width": size}
    for what in ("fields", "parcels"):
        job, runs = {"folder": str(folder), "boundary": what == "fields", "threads": THREADS}, Runs()
        for _ in range(ROUNDS):
            runs.add(lambda job=job: child("with_boundary.py", json.dumps(job)))
        here = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        found[what] = {**runs.plain, **here, "ms_per_mpx": round(here["seconds"] / size**2 * 1e9, 1)}
        print(f"  {size:6} {what:8} {found[what]}", flush=True)
    return found


def _write_plain(size: int, folder: Path) -> None:
    """Fields nearest to scattered points, as a mask of nearly all and a boundary."""
    random = np.random.default_rng(0)
    points = np.zeros((size, size), bool)
    points[tuple(random.integers(0, size, (2, size**2 // FIELD**2 + 1)))] = True
    to_point, nearest = ndimage.distance_transform_edt(~points, return_indices=True)
    field = nearest[0] * size + nearest[1]
    lines = ndimage.maximum_filter(field, 4) != ndimage.minimum_filter(field, 4)
    strength = ndimage.zoom(random.random((size // 4, size // 4), np.float32), 4, order=1)
    lines &= strength > 0.1  # gaps of some pixels
    levels = ndimage.gaussian_filter(254 * lines.astype(np.float32), 1)
    levels += np.abs(ndimage.gaussian_filter(random.standard_normal(levels.shape, np.float32), 2)) * 60
    mask = (to_point > 12).astype(np.uint8)  # a farm in each field
    _write(folder, mask, np.rint(np.clip(levels, 0, 254)).astype(np.uint8))


def _write(folder: Path, mask: np.ndarray, boundary: np.ndarray) -> None:
    height, width = mask.shape
    place = {"crs": "EPSG:32650", "transform": from_origin(500_000, 5e6, 1, 1), "nodata": 255}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    for name, values in (("mask", mask), ("boundary", boundary)):
        with rasterio.open(
            folder / f"{name}.tif", "w", "GTiff", width, height, 1, dtype="uint8", **place, **layout
        ) as file:
            file.write(values, 1)


if __name__ == "__main__":
    save("field_instances", measure)
