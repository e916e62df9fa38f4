"""Two files of fields, compared; what was found, and seconds by stage, are written to a file."""

import json
import sys
import time
from pathlib import Path

from cropland.evaluation.fields import count_fields, field_figures, lattice, match, overlaps
from cropland.geo.vectors import open_polygons
from told import tell

job = json.loads(sys.argv[1])
begun = time.perf_counter()
sides = (open_polygons(job[side]) for side in ("predicted", "reference"))
areas = overlaps(*sides, crs=32650, cells=lattice(job["extent"], size=job["size"]), threads=job["threads"])
matching = time.perf_counter()
found = match(areas)
(counts,) = count_fields(found).values()
ended = time.perf_counter()
figures = {name: field_figures(counts)[name] for name in ("precision", "recall", "f1", "f1_50_95")}
stages = {"overlaps": matching - begun, "matching": ended - matching}
text = json.dumps({"predicted": len(areas.predicted), "pairs": len(areas.area), "figures": figures, "stages": stages})
Path(job["out"], "found.json").write_text(text, encoding="utf-8")
tell(ended - begun)
