"""What people write themselves: windows of 512 with an overlap of 128, four at a time, through eager PyTorch."""

import json
import sys
import time

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

from given import Job, read_job
from told import tell

TILE, OVERLAP, BATCH = 512, 128, 4
RIM, STEP = OVERLAP // 2, TILE - OVERLAP


def windowed_loop(network: torch.nn.Module, job: Job) -> None:
    """Read, normalise, infer, cut the rim off, write: one window after the other."""
    with rasterio.open(job.scene) as scene, rasterio.open(job.out, "w", **job.profile(scene)) as out:
        places = [(row, col) for row in range(0, scene.height, STEP) for col in range(0, scene.width, STEP)]
        for first in range(0, len(places), BATCH):
            some = places[first : first + BATCH]
            images = torch.from_numpy(np.stack([read(scene, row, col, job) for row, col in some]))
            with torch.inference_mode():
                masks = job.classes(network(images))
            for (row, col), mask in zip(some, masks, strict=True):
                kept = mask[RIM : RIM + min(STEP, scene.height - row), RIM : RIM + min(STEP, scene.width - col)]
                out.write(kept, 1, window=Window(col, row, kept.shape[1], kept.shape[0]))


def read(scene: rasterio.DatasetReader, row: int, col: int, job: Job) -> np.ndarray:
    """The window around a core, with zeros beyond the scene."""
    top, left = max(0, row - RIM), max(0, col - RIM)
    stop, end = min(scene.height, row - RIM + TILE), min(scene.width, col - RIM + TILE)
    image = job.normalise(scene.read(job.bands, window=Window(left, top, end - left, stop - top)))
    missing = (top - row + RIM, row - RIM + TILE - stop), (left - col + RIM, col - RIM + TILE - end)
    return np.pad(image, ((0, 0), *missing))


if __name__ == "__main__":
    job = read_job(json.loads(sys.argv[1]))
    network = job.load_network()
    begun = time.perf_counter()
    windowed_loop(network, job)
    tell(time.perf_counter() - begun)
