"""The same scene, the same weights, on the same two cores: what people use, and cropland.

    python benchmarks/peers.py

The network that ships is exported once, and all peers load that file; segmentation-models-pytorch has a network of its
own, of the same kind and with random weights. Peers are told the stretch and write a mask, no more.
"""

import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import rasterio

import environments
from cropland.geo.scene import open_scene
from cropland.model import ModelFile, default_model
from places import QUICK, ROUNDS, THREADS, WORK
from processes import ChildError, Runs, child, in_turn
from results import save
from scenes import EMPTY, scene

SIZE = (2048, 1024) if QUICK else (4096, 4096)
WARM = (2048, 1024)  # large enough to slide, so that the step is converted before anything is timed
REFERENCE = "cropland, probability and mask, float32"
Run = Callable[[], tuple[float, float, float]]
PEERS = {  # name: environment (none: cropland's own), script, channels last
    "plain loop, eager PyTorch": ("", "plain_loop.py", False),
    "plain loop, eager PyTorch, channels last": ("", "plain_loop.py", True),
    "segmentation-models-pytorch + plain loop": ("smp", "with_smp.py", False),
    "TerraTorch, tiled_inference": ("terratorch", "with_terratorch.py", False),
    "geoai, predict_geotiff": ("geoai", "with_geoai.py", False),
}
OWN = {  # name: precision, whether the whole of `cropland map` runs
    "cropland map": ("fastest", True),
    "cropland map, float32": ("f32", True),
    "cropland, probability and mask": ("fastest", False),
    "cropland, probability and mask, float32": ("f32", False),
}


def measure() -> dict[str, Any]:
    """Runs of all contenders, the peak of their memory on an empty scene, and how far their masks agree."""
    contenders = [*PEERS, *OWN]
    print(f"Peers, {SIZE[0]} x {SIZE[1]}, {ROUNDS} rounds")
    empty = empty_runs(contenders)
    able = [name for name in contenders if not empty[name].missing]
    runs = in_turn({name: contender(name, SIZE) for name in able}, rounds=ROUNDS)
    found = {name: _figures(runs.get(name, empty[name]), empty[name], name) for name in contenders}
    return {"size": SIZE, "contenders": found, "versions": _versions()}


def empty_runs(contenders: Sequence[str]) -> dict[str, Runs]:
    """Of each on a scene of a few pixels, once everything is installed, converted and in the caches."""
    in_turn({name: contender(name, WARM if name in OWN else EMPTY) for name in contenders}, rounds=1)
    return in_turn({name: contender(name, EMPTY) for name in contenders}, rounds=1)


def _figures(runs: Runs, empty: Runs, name: str) -> dict[str, Any]:
    if runs.missing:
        return runs.plain
    return {**runs.plain, "empty_mb": empty.peak_mb[0], "empty_whole": empty.whole[0], "other_class": _apart(name)}


def _apart(name: str) -> float:
    """The share of pixels of another class than cropland's in float32; cropland also clears specks away."""
    with rasterio.open(mask_of(name)) as one, rasterio.open(mask_of(REFERENCE)) as other:
        windows = [window for _, window in other.block_windows(1)]
        different = sum(int((one.read(1, window=w) != other.read(1, window=w)).sum()) for w in windows)
        return different / (one.width * one.height)


def contender(name: str, size: tuple[int, int]) -> Run:
    """One of `PEERS` or `OWN` on the scene of that size."""
    return own(name, size) if name in OWN else peer(name, size)


def own(name: str, size: tuple[int, int], *extra: str) -> Run:
    """cropland, as a whole process or up to the mask."""
    precision, is_whole = OWN[name]
    out = mask_of(name)
    if not is_whole:
        job = {"scene": str(scene(*size)), "out": str(out), "threads": THREADS, "precision": precision}
        return partial(child, "with_cropland.py", json.dumps(job))
    words = ["map", str(scene(*size)), "--out", str(out.parent), "--overwrite", "--threads", str(THREADS), *extra]
    words += ["--precision", precision] if precision != "fastest" else []
    return partial(child, "whole_process.py", *words)


def peer(name: str, size: tuple[int, int]) -> Run:
    """A peer in its environment, which is made first."""
    place, script, channels_last = PEERS[name]
    job = {**_given(), "scene": str(scene(*size)), "out": str(mask_of(name)), "channels_last": channels_last}

    def run() -> tuple[float, float, float]:
        python = str(environments.environment(place)) if place else sys.executable
        return child(script, json.dumps(job), python=python)

    return run


def mask_of(name: str) -> Path:
    """Where a contender writes its mask, in a folder of its own."""
    folder = WORK / "out" / re.sub(r"\W+", "_", name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if name not in OWN or not OWN[name][1]:
        folder.mkdir(exist_ok=True)
    return folder / "mask.tif"


@cache
def _given() -> dict[str, Any]:
    model, sample = ModelFile.load(default_model()), open_scene(scene(*SIZE))
    statistics = sample.statistics(model.bands)
    threshold = model.nearest_pixel(sample.pixel_m).threshold
    return {
        "network": str(_exported(model)),
        "threads": THREADS,
        "bands": [sample.bands.index(band) + 1 for band in statistics.bands],
        "low": list(statistics.low),
        "high": list(statistics.high),
        "logit": math.log(threshold / (1 - threshold)),
    }


def _exported(model: ModelFile) -> Path:
    """The network as `torch.export` keeps it; it computes at least as fast as the module it came from."""
    import torch

    path = WORK / f"{model.digest[:16]}.pt2"
    if not path.exists():
        any_size = {0: torch.export.Dim.DYNAMIC, 2: 32 * torch.export.Dim("h"), 3: 32 * torch.export.Dim("w")}
        with warnings.catch_warnings(action="ignore"):
            example = (torch.zeros(2, len(model.bands), 512, 544),)
            torch.export.save(torch.export.export(model.network(), example, dynamic_shapes=(any_size,)), path)
    return path


def _versions() -> dict[str, str]:
    found = {}
    for name in environments.PACKAGES:
        try:
            environments.environment(name)
            found[name] = environments.version(name)
        except ChildError as error:
            found[name] = str(error)
    return found


if __name__ == "__main__":
    save("peers", measure)
