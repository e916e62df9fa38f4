"""Scenes mapped by cropland with a given model, each into the folder of a map."""

import json
import sys
import time
from pathlib import Path

import cropland
from told import tell

job = json.loads(sys.argv[1])
model, out = cropland.Model.open(job["model"], threads=job["threads"]), Path(job["out"])
scenes = {Path(path).stem: cropland.open(path, crs=job["crs"]) for path in job["scenes"]}
model.map(next(iter(scenes.values())))  # what is compiled is compiled
begun = time.perf_counter()
for name, scene in scenes.items():
    cropland.map(scene, out / name, model=model, overwrite=True)
tell(time.perf_counter() - begun)
