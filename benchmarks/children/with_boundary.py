"""From a mask, and a boundary if asked for, to parcels; what was found, and seconds by stage, are written to a file."""

import json
import sys
import time
from functools import partial
from pathlib import Path

from cropland.parcels.parcels import find_parcels
from cropland.progress import prefetch, seconds_by_stage, timed
from told import tell

job = json.loads(sys.argv[1])
folder = Path(job["folder"])
boundary = folder / "boundary.tif" if job["boundary"] else None
begun = time.perf_counter()
spread = partial(prefetch, threads=job["threads"])
with timed("areas"), find_parcels(folder / "mask.tif", boundary=boundary, folder=folder, spread=spread) as found:
    seconds = time.perf_counter() - begun
about = {"found": len(found), "seconds": round(seconds, 3), "stages": seconds_by_stage()}
(folder / "found.json").write_text(json.dumps(about), encoding="utf-8")
tell(seconds)
