"""From the start of the process until the first band of a scene has been through the network."""

import json
import sys
import time
from pathlib import Path

from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.mapping.compute import Serial, Work
from cropland.mapping.plan import MapOptions, make_plan
from cropland.model import ModelFile, default_model
from told import tell

job = json.loads(sys.argv[1])
model, scene = ModelFile.load(default_model()), open_scene(Path(job["scene"]))
executor = Serial(open_engine(model, threads=job["threads"]))
plan = make_plan(scene, model, MapOptions(), engine=executor.engine, prepare=executor.prepare)
unit = plan.passes[0].cut.units[0]
slide, work = executor.engine.slide(unit.padded.width), Work(scene, plan.statistics, plan.ratio, plan.radius)
band = work.read(unit.padded._replace(height=slide.band)).values
slide(band[None], slide.schedule.masks(0, slide.band, scene.shape[0]))
tell(time.time() - job["begun"])
sys.exit("torch was imported" if "torch" in sys.modules else 0)
