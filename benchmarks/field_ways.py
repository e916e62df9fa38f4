"""Fields by cores, as cropland finds them, beside a watershed and a graph, of the same masks and boundaries.

    python benchmarks/field_ways.py [MODEL]

Maps the five tiles of `val_MN_north` with a model that has the output boundary, finds fields in both ways, each at
several settings, and prints the figures of `cropland evaluate`. Not a part of `make bench`: it is asked for the
decision docs/decisions/cores_are_grown_back.md alone.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
from geopandas import GeoDataFrame
from jaxtyping import Bool, Float32, Int32, Int64, UInt8
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

import cropland
from cropland.geo.area import default_min_area_m2
from cropland.model import default_model
from cropland.parcels.clean import connected
from cropland.parcels.parcels import parcels
from places import ROOT, WORK

DATA = Path(os.environ.get("CROPLAND_DATA", ROOT.parent / "shared" / "data")) / "naip_us"
TILES = [DATA / "images" / f"naip_{number}.png" for number in range(35, 40)]
THRESHOLDS = (0.05, 0.08, 0.1, 0.15, 0.2, 0.3)
LIMITS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
SMOOTH, APART = 1.5, 25  # pixels of a metre: of the Gaussian before, and the window of a local minimum
INTERIOR = 0.2  # below, a pixel counts to the interior of a region
Numbers = Int32[np.ndarray, "height width"]


def main(model: Path) -> None:
    out = WORK / "field_ways"
    for tile in TILES:
        scene = cropland.open(tile, crs="EPSG:4326")
        cropland.map(scene, out / tile.stem, model=cropland.Model.open(model), overwrite=True)
    print(
        "| way | F1@0.5 | F1 0.5 to 0.95 | over-segmentation | under-segmentation | fields |\n|---|---|---|---|---|---|"
    )
    score(out, "connected regions", lambda folder: parcels(folder / "mask.tif"))
    for threshold in THRESHOLDS:
        score(out, f"cores, threshold {threshold:g}", partial(by_cores, threshold=threshold))
    for limit in LIMITS:
        score(out, f"watershed and graph, limit {limit:g}", partial(by_graph, limit=limit))


def score(maps: Path, name: str, find: Callable[[Path], GeoDataFrame]) -> None:
    """Put the fields of one way into the folders of the maps, and print their figures."""
    for tile in TILES:
        find(maps / tile.stem).to_parquet(maps / tile.stem / "parcels.parquet")
    its = cropland.evaluate(maps, labels=DATA / "fields.gpkg", background="known")["pooled"]["fields"]
    figures = (its[key] for key in ("f1", "f1_50_95", "over_segmentation", "under_segmentation"))
    print(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} | {its['predicted']} |", flush=True)


def by_cores(folder: Path, *, threshold: float) -> GeoDataFrame:
    return parcels(folder / "mask.tif", boundary=folder / "boundary.tif", boundary_threshold=threshold)


def by_graph(folder: Path, *, limit: float) -> GeoDataFrame:
    """Regions of a watershed whose shared line has a mean below the limit are united, all of them at once.

    Then regions whose interior is below the least area fall to the neighbour along the longest and weakest line, as
    cores that are too small do.
    """
    with rasterio.open(folder / "mask.tif") as mask, rasterio.open(folder / "boundary.tif") as lines:
        inside, levels, grid, crs = mask.read(1) == 1, lines.read(1), mask.transform, mask.crs
    levels[levels == 255] = 0
    smooth = ndimage.gaussian_filter(levels.astype(np.float32), SMOOTH)
    numbers = watershed(inside, smooth)
    one, other, level = edges(numbers, levels)
    pair, length = np.unique(np.stack([one, other]), axis=1, return_counts=True)
    mean = total(pair, one, other, level) / length
    numbers = united(numbers, pair[:, mean < limit * 254])
    least = default_min_area_m2(1.0)
    while True:
        one, other, level = edges(numbers, levels)
        small = np.bincount(numbers.ravel(), (smooth < INTERIOR * 254).ravel(), int(numbers.max()) + 1) < least
        pair = np.unique(np.stack([one, other]), axis=1)
        openness = total(pair, one, other, 254 - level)
        both = np.concatenate([pair, pair[::-1]], axis=1)
        chosen = small[both[0]]
        if not chosen.any():
            break
        both, openness = both[:, chosen], np.tile(openness, 2)[chosen]
        order = np.lexsort((-openness, both[0]))
        first = order[np.flatnonzero(np.diff(both[0, order], prepend=-1))]
        numbers = united(numbers, both[:, first])
    outlines = shapes(numbers, numbers > 0, connectivity=4, transform=grid)
    return GeoDataFrame(geometry=[shape(outline) for outline, _ in outlines], crs=crs)


def watershed(inside: Bool[np.ndarray, "height width"], smooth: Float32[np.ndarray, "height width"]) -> Numbers:
    """The smoothed boundary flooded from its local minima, within the mask."""
    markers, _ = ndimage.label(inside & (smooth <= ndimage.minimum_filter(smooth, APART) + 1))
    steps = np.rint(np.where(inside, smooth, 255)).astype(np.uint8)
    flooded = ndimage.watershed_ift(steps, np.where(inside, markers, -1).astype(np.int32))
    return np.where(inside, flooded, 0).clip(0).astype(np.int32)


def edges(
    numbers: Numbers, levels: UInt8[np.ndarray, "height width"]
) -> tuple[Int32[np.ndarray, " edge"], Int32[np.ndarray, " edge"], Int64[np.ndarray, " edge"]]:
    """Of each edge of pixels between two regions the lower and the higher number, and the level of the boundary."""
    found = []
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        one, other = numbers[here], numbers[there]
        met = (one != other) & (one > 0) & (other > 0)
        level = np.maximum(levels[here], levels[there])[met].astype(np.int64)
        found.append((np.minimum(one, other)[met], np.maximum(one, other)[met], level))
    one, other, level = (np.concatenate(each) for each in zip(*found, strict=True))
    return one, other, level


def total(pair: np.ndarray, one: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The sum of the weights of the edges of each pair."""
    _, edge = np.unique(np.stack([one, other]), axis=1, return_inverse=True)
    return np.bincount(edge.ravel(), weight, minlength=pair.shape[1])


def united(numbers: Numbers, pairs: np.ndarray) -> Numbers:
    """Regions with a number for all that the pairs join; 0 stays."""
    return connected(int(numbers.max()) + 1, pairs)[numbers].astype(np.int32)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_model())
