"""Probability and mask by cropland, without parcels and pictures: what the peers write too."""

import json
import sys
import time
from pathlib import Path

from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.mapping.clean import by_threshold, clean_mask, default_min_area_m2
from cropland.mapping.map_scene import SMALL
from cropland.mapping.own_grid import write_probability
from cropland.mapping.radiometry import choose_statistics
from cropland.mapping.sliding import slide_or_tile
from cropland.mapping.working import Plane, cut_tiles, fill_plane
from cropland.model import Model, default_model
from told import tell

job = json.loads(sys.argv[1])
model, out = Model.load(default_model()), Path(job["out"])
engine = open_engine(model, threads=job["threads"], precision=job.get("precision", "fastest"))
begun = time.perf_counter()
scene = open_scene(Path(job["scene"]))
plane, flat = Plane(out.with_suffix(".plane"), scene.shape), out.with_suffix(".probability.tif")
how = {"engine": engine, "statistics": choose_statistics(scene, model, None), "ratio": 1.0, "advance": lambda _: None}
if job.get("tiles") or scene.shape[0] * scene.shape[1] <= SMALL:
    fill_plane(plane, scene, cut_tiles(plane.shape, model), **how)
else:
    slide_or_tile(plane, scene, model, **how)
if job.get("mask", True):
    write_probability(plane, scene, flat, ratio=1.0, out_ratio=1.0)
    classify, least = by_threshold(model.nearest_pixel(scene.pixel_m).threshold), default_min_area_m2(scene.pixel_m)
    clean_mask(flat, out, classify=classify, min_area_m2=least, unit_m=scene.unit_m)
tell(time.perf_counter() - begun)
