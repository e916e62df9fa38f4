"""Probability and mask by cropland, without parcels and pictures: what the peers write too."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.mapping.compute import Serial, Work, fill
from cropland.mapping.plan import MapOptions, make_plan
from cropland.mapping.products import on_grid
from cropland.mapping.run_folder import Journal, RawRaster
from cropland.model import ModelFile, default_model
from cropland.parcels.clean import by_threshold, clean_mask
from told import tell

job = json.loads(sys.argv[1])
model, out = ModelFile.load(default_model()), Path(job["out"])
engine = open_engine(model, threads=job["threads"], precision=job.get("precision", "fastest"))
begun = time.perf_counter()
with TemporaryDirectory(dir=out.parent) as name:
    folder = Path(name)
    scene = open_scene(Path(job["scene"]))
    executor, options = Serial(engine), MapOptions(tiles=job.get("tiles", False))
    plan = make_plan(scene, model, options, engine=engine, prepare=executor.prepare)
    cut, work = plan.passes[0].cut, Work(scene, plan.statistics, plan.ratio, plan.radius)
    raster, how = RawRaster(folder / "raster", cut.shape), {"executor": executor, "journal": Journal.begin(folder, {})}
    fill(raster, "raster", work, cut, **how, advance=lambda _: None)
    if job.get("mask", True):
        flat = on_grid(raster, scene, plan)["cropland"]
        rule = {"classify": by_threshold(plan.threshold), "min_area_m2": plan.min_area_m2}
        clean_mask(flat, out, **rule, unit_m=scene.unit_m)
tell(time.perf_counter() - begun)
