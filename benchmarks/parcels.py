"""From a probability to its mask and parcels: seconds per megapixel, stage by stage, and peak memory, as scenes grow.

    python benchmarks/parcels.py

Maps the sample, mirrors its probability to growing sizes, then cleans, finds parcels and writes them, each run in a
process of its own. Stages are told of one thread, so that they add up.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rasterio

from peers import mask_of, own
from places import QUICK, THREADS, WORK
from processes import Runs, child, use_two_cores
from results import save
from scenes import SAMPLE, mirrored

WHOLE = "cropland map"
SIZES = (512, 1024) if QUICK else (1024, 2048, 4096, 8192, 16384)
ROUNDS = 1 if QUICK else 3


def measure() -> dict[str, Any]:
    """By size: parcels, runs in two threads, and the stages of a run in one."""
    use_two_cores()
    print("Parcels")
    with TemporaryDirectory(dir=WORK) as name:
        folder = Path(name)
        own(WHOLE, rasterio.open(SAMPLE).shape)()
        return {"sizes": [_of_size(size, folder) for size in SIZES]}


def _of_size(size: int, folder: Path) -> dict[str, Any]:
    probability, runs = folder / "probability.tif", Runs()
    pixel_m = _write_probability(mask_of(WHOLE).with_name("probability.tif"), probability, size)
    job = {"probability": str(probability), "out": str(folder), "pixel_m": pixel_m}
    for _ in range(ROUNDS):
        runs.add(lambda: child("with_parcels.py", json.dumps({**job, "threads": THREADS})))
    child("with_parcels.py", json.dumps({**job, "threads": 1}))
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    print(f"  {size:6} {runs.plain} {found}", flush=True)
    return {"height": size, "width": size, **runs.plain, **found}


def _write_probability(small: Path, out: Path, size: int) -> float:
    """A square of the raster and its mirror images; the edge of its pixels in metres."""
    with rasterio.open(small) as file:
        values, profile = file.read(1), file.profile
    rows, columns = (mirrored(size, length) for length in values.shape)
    how = {"height": size, "width": size, "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(out, "w", **{**profile, **how, "driver": "GTiff"}) as file:
        for top in range(0, size, 512):
            block = values[rows[top : top + 512]][:, columns]
            file.write(block, 1, window=((top, top + len(block)), (0, size)))
        return float(file.res[0])


if __name__ == "__main__":
    save("parcels", measure)
