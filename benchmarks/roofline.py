"""The bare engine on lone tiles against what the machine could do at best.

    python benchmarks/roofline.py

The least time of a layer is the longer of its arithmetic at the machine's best rate and its bytes at the bandwidth of
the memory that holds them (Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785); what an engine folds
into its neighbour is free. A step for lone tiles adds those up.
"""

import time
from statistics import median
from typing import Any

import numpy as np
import torch

from cropland.engines.openvino import open_engine
from cropland.lab.chapters.network.advice import bounds
from cropland.lab.measure import Budget
from cropland.lab.parts import open_body, operations
from cropland.lab.roofline import roofline
from cropland.model import ModelFile, default_model
from places import ROUNDS, THREADS
from processes import use_two_cores
from results import save

CALLS, TILE = 4, 512
TYPES = {"fastest": "bfloat16", "f32": "float32"}
CPU = torch.device("cpu")


def measure() -> dict[str, Any]:
    """Per precision: seconds of a tile, the least seconds, operations per pixel, the machine's best rates."""
    use_two_cores()
    torch.set_num_threads(THREADS)
    roof = roofline(CPU, ROUNDS)
    body = open_body(CPU, Budget("tile", ROUNDS, TILE, 64, 0, 0, 1))
    work = operations(body.network, body.names, body.image)
    flops = 2.0 * sum(operation.multiply_adds for operation in work)
    time.sleep(1)  # until torch's threads sleep
    tiles = _tiles()
    found: dict[str, Any] = {"flops_per_pixel": flops / TILE**2, "bandwidth": roof.bandwidth}
    for precision, dtype in TYPES.items():
        least = sum(bounds(work, body.names, roof, dtype).values())
        figures = {"seconds": tiles[precision], "least": least, "peak": roof.peak(dtype), "flops": flops}
        found[precision] = {**figures, "reached": least / median(tiles[precision]), "type": dtype}
        print(f"  {precision:8} {found[precision]}")
    return found


def _tiles() -> dict[str, list[float]]:
    """Seconds of a lone tile, in turn."""
    model, tile = ModelFile.load(default_model()), np.random.default_rng(0).random((1, 3, TILE, TILE), np.float32)
    engines = {precision: open_engine(model, threads=THREADS, precision=precision) for precision in TYPES}
    times: dict[str, list[float]] = {precision: [] for precision in TYPES}
    for number in range(ROUNDS + 1):
        for precision, engine in engines.items():
            engine(tile)
            begun = time.perf_counter()
            for _ in range(CALLS):
                engine(tile)
            times[precision] += [(time.perf_counter() - begun) / CALLS] * (number > 0)
    return times


if __name__ == "__main__":
    save("roofline", measure)
