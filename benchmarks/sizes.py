"""Memory and time as scenes grow: extra peak memory over an empty run, and seconds of the whole process.

    python benchmarks/sizes.py

The largest scene is a file of 6 GB; writing and mapping it take ten minutes.
"""

import shutil
from typing import Any

from peers import OWN, contender, empty_runs, mask_of
from places import QUICK
from processes import Runs
from results import save

CROPLAND, ALONE, LOOP, GEOAI = (
    "cropland map",
    "cropland, probability and mask",
    "plain loop, eager PyTorch",
    "geoai, predict_geotiff",
)
SIZES = {  # the largest comes last: the system needs a while to have its memory ready again
    LOOP: [(1024, 1024), (2048, 2048)],
    GEOAI: [(1024, 1024), (2048, 2048)],
    ALONE: [(2048, 2048), (4096, 4096), (8192, 8192)],
    CROPLAND: [(2048, 2048), (4096, 4096), (8192, 8192), (16384, 16384), (32768, 32768)],
}
SHORT, REPEATS = 5e6, 1 if QUICK else 3  # pixels up to which cropland's runs are repeated


def measure() -> dict[str, Any]:
    """For each contender its empty run, and its runs by size."""
    print("Growing scenes")
    empty = empty_runs([*SIZES])
    return {name: {"empty": empty[name].plain, "sizes": _growing(name)} for name in SIZES}


def _growing(name: str) -> list[dict[str, Any]]:
    found = []
    for height, width in SIZES[name][: 2 if QUICK else None]:
        runs = Runs()
        for _ in range(REPEATS if name in OWN and height * width <= SHORT else 1):
            runs.add(contender(name, (height, width)))
        print(f"  {name:40} {height} x {width}: {runs.plain}", flush=True)
        found.append({"height": height, "width": width, **runs.plain})
        shutil.rmtree(mask_of(name).parent, ignore_errors=True)
    return found


if __name__ == "__main__":
    save("sizes", measure)
