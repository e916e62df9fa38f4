"""From the start of a process to the first band of a scene through the shipped network, with an empty and a full cache.

    python benchmarks/first_band.py

Prints medians of five child processes, in turn, in seconds: the imports of `cropland map`, opening the engine and
starting to slide, the band itself, all of it from the start of the interpreter; and whether torch was imported.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ROUNDS, WIDTH = 5, 4096
PARTS = ("interpreter", "imports", "engine and slide", "first band")
CHILD = """
import sys, time
times = [time.time()]
import numpy
import cropland.mapping.map_scenes
from cropland.engines.openvino import open_engine
from cropland.model import Model, default_model
times.append(time.time())
slide = open_engine(Model.load(default_model())).slide(int(sys.argv[1]))
band = numpy.zeros((1, 3, slide.band, int(sys.argv[1])), numpy.float32)
times.append(time.time())
slide(band, slide.schedule.masks(0, slide.band, 10**6))
times.append(time.time())
import json
print(json.dumps([times, "torch" in sys.modules]))
"""


def start(cache: Path) -> tuple[list[float], bool]:
    """Seconds of each part, and whether torch was imported."""
    environment, begun = {**os.environ, "CROPLAND_CACHE": str(cache)}, time.time()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(WIDTH)], env=environment, capture_output=True, check=True, encoding="utf-8"
    )
    times, torch = json.loads(done.stdout)
    return [after - before for before, after in zip([begun, *times], times, strict=False)], torch


def main() -> None:
    runs: dict[str, list[tuple[list[float], bool]]] = {"cold": [], "warm": []}
    for _ in range(ROUNDS):
        with TemporaryDirectory() as folder:
            runs["cold"].append(start(Path(folder)))
            runs["warm"].append(start(Path(folder)))
    for name, its in runs.items():
        parts = zip(PARTS, zip(*(seconds for seconds, _ in its), strict=True), strict=True)
        told = ", ".join(f"{part} {median(each):.2f}" for part, each in parts)
        total, torch = median(sum(seconds) for seconds, _ in its), {torch for _, torch in its}
        print(f"{name}: {total:.2f} s ({told}), torch imported: {torch}")


if __name__ == "__main__":
    main()
