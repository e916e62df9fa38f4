"""From a probability to its mask and parcels: seconds per megapixel, stage by stage, and peak memory, as scenes grow.

    python benchmarks/parcels.py

Maps the sample, mirrors its probability to growing sizes, then cleans, finds parcels and writes them, each run in a
process of its own; medians of three. "stages" works on one cell at a time, so that the stages add up.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import rasterio

from cropland.demo import FOLDER

ROUNDS = 3
SIZES = (1024, 2048, 4096, 8192, 16384)
CHILD = """
import json, sys, time
from pathlib import Path
from cropland.mapping.clean import by_threshold, clean_mask, default_min_area_m2
from cropland.mapping.find_parcels import find_parcels
from cropland.mapping.in_threads import in_threads
from cropland.mapping.stages import stage, taken
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet
probability, spread = Path(sys.argv[1]), map if sys.argv[2] == "stages" else in_threads
mask = probability.with_name("mask.tif")
begun = time.perf_counter()
with stage("mask"):
    clean_mask(probability, mask, classify=by_threshold(0.5), min_area_m2=default_min_area_m2(10))
with stage("figures"), find_parcels(mask, probability=probability, folder=mask.parent, spread=spread) as found:
    with stage("parquet"):
        write_geoparquet(found.chunks(), mask.with_name("parcels.parquet"))
    with stage("gpkg"):
        write_geopackage(found.chunks(), mask.with_name("parcels.gpkg"))
seconds = time.perf_counter() - begun
status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would tell of the parent too
print(json.dumps([seconds, taken(), len(found), int(status.partition("VmHWM:")[2].split()[0]) / 1e3]))
"""


def write_probability(small: Path, out: Path, size: int) -> None:
    """A square of the raster and its mirror images."""
    with rasterio.open(small) as file:
        values, profile = file.read(1), file.profile
    rows, columns = (np.pad(np.arange(n), (0, max(0, size - n)), mode="symmetric")[:size] for n in values.shape)
    how = {"height": size, "width": size, "tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(out, "w", **{**profile, **how, "driver": "GTiff"}) as file:
        for top in range(0, size, 512):
            block = values[rows[top : top + 512]][:, columns]
            file.write(block, 1, window=((top, top + len(block)), (0, size)))


def run(probability: Path, way: str) -> tuple[float, dict[str, float], int, float]:
    command = [sys.executable, "-W", "ignore", "-c", CHILD, str(probability), way]
    # 64 MB of blocks: else GDAL keeps a twentieth of the machine's memory, and that is what grows.
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, env={**os.environ, "GDAL_CACHEMAX": "64"}
    )
    seconds, stages, count, peak = json.loads(done.stdout)
    return seconds, stages, count, peak


def main() -> None:
    with TemporaryDirectory() as folder:
        mapped, probability = Path(folder) / "map", Path(folder) / "probability.tif"
        scene = str(FOLDER / "sentinel2_delmarva.tif")
        subprocess.run([sys.executable, "-m", "cropland", "map", scene, "--out", str(mapped)], check=True)
        for size in SIZES:
            write_probability(mapped / "probability.tif", probability, size)
            for way in ("threads", "stages"):
                runs = [run(probability, way) for _ in range(ROUNDS if size < 8192 else 1)]
                megapixels = size**2 / 1e6
                shares = {name: median(each[1][name] for each in runs) / megapixels for name in runs[0][1]}
                told = ", ".join(f"{name} {share:.4f}" for name, share in shares.items())
                seconds, peak = (median(each[place] for each in runs) for place in (0, 3))
                print(f"{size:6} {way:8} {seconds:6.2f} s, {seconds / megapixels:.4f} s/Mpx ({told}),", end=" ")
                print(f"{runs[0][2]:,} parcels, peak of the process {peak:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
