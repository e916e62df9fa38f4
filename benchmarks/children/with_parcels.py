"""From a probability to mask and parcels; what was found, and seconds by stage, are written to a file."""

import json
import sys
import time
from functools import partial
from pathlib import Path

from cropland.geo.area import default_min_area_m2
from cropland.parcels.clean import by_threshold, clean_mask
from cropland.parcels.parcels import find_parcels
from cropland.progress import prefetch, seconds_by_stage, timed
from cropland.writers.vector import write_geopackage, write_geoparquet
from told import tell

job = json.loads(sys.argv[1])
probability, folder = Path(job["probability"]), Path(job["out"])
mask = folder / "mask.tif"
begun = time.perf_counter()
with timed("mask"):
    clean_mask(probability, mask, classify=by_threshold(0.5), min_area_m2=default_min_area_m2(job["pixel_m"]))
spread = partial(prefetch, threads=2) if job["threads"] > 1 else map
with timed("areas, order"), find_parcels(mask, probability=probability, folder=folder, spread=spread) as found:
    with timed("parcels.parquet"):
        write_geoparquet(found.chunks(), folder / "parcels.parquet")
    with timed("parcels.gpkg"):
        write_geopackage(found.chunks(), folder / "parcels.gpkg")
seconds = time.perf_counter() - begun
(folder / "found.json").write_text(json.dumps({"parcels": len(found), "stages": seconds_by_stage()}), encoding="utf-8")
tell(seconds)
