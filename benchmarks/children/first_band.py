"""From the start of the process until the first band of a scene has been through the network."""

import json
import sys
import time
from pathlib import Path

from cropland.engines.openvino import open_engine
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window
from cropland.mapping.radiometry import choose_statistics
from cropland.model import Model, default_model
from told import tell

begun = time.perf_counter()
job = json.loads(sys.argv[1])
model, scene = Model.load(default_model()), open_scene(Path(job["scene"]))
statistics = choose_statistics(scene, model, None)
slide = open_engine(model, threads=job["threads"]).slide(scene.shape[1])
image = scene.read(Window(0, 0, slide.band, scene.shape[1]), bands=statistics.bands, ratio=1.0)
slide(statistics.normalise(image.values, image.valid)[None], slide.schedule.masks(0, slide.band, scene.shape[0]))
tell(time.perf_counter() - begun)
sys.exit("torch was imported" if "torch" in sys.modules else 0)
