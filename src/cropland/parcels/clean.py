"""Cleaning of a mask: specks and holes that are too small to be a field or a gap in one are removed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple

import numpy as np
import rasterio
from jaxtyping import Bool, Float64, Int64, UInt8
from rasterio.io import DatasetReader
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cropland.geo.area import pixel_area_m2
from cropland.geo.grid import grid_of
from cropland.geo.window import Window
from cropland.probability import classes
from cropland.progress import prefetch
from cropland.writers.cog import write_cog

__all__ = ["EDGES", "by_threshold", "by_value", "clean_mask", "connected", "run_starts"]

SLACK = 1e-3  # of the minimum: pixels of a projection differ by so much, and ten of them are enough wherever they lie
EDGES = ndimage.generate_binary_structure(2, 1)
CORNERS = ndimage.generate_binary_structure(2, 2)
COLOURS = {0: (233, 228, 214, 255), 1: (84, 140, 47, 255), 255: (255, 255, 255, 0)}

Classify = Callable[[np.ndarray], UInt8[np.ndarray, "height width"]]


def by_threshold(threshold: float) -> Classify:
    """Classes of a probability raster (uint8 0..254 = p x 254, 255 = no data): cropland where p >= threshold."""
    table = classes(threshold)
    return lambda levels: table[levels]


def by_value(value: float, *, nodata: float | None) -> Classify:
    """Classes of a raster of classes: `value` is cropland, 255 and `nodata` are no data, the rest is not cropland.

    A `nodata` of 0 is read as not cropland: many masks declare it only to be drawn transparent.
    """
    absent = [255] if nodata in (0, None) else [255, nodata]
    return lambda values: np.where(values == value, 1, np.where(np.isin(values, absent), 255, 0)).astype(np.uint8)


def clean_mask(
    raster: Path,
    out: Path,
    *,
    classify: Classify,
    min_area_m2: float,
    unit_m: float | None = None,
    block: int = 256,
) -> None:
    """Write the mask of a raster without regions smaller than `min_area_m2` (m2 on the ellipsoid), as a COG.

    First specks are removed: cropland that is connected by edges and smaller than that. Then holes are filled: what is
    not cropland, is connected by edges or corners and is smaller than that. No data stays no data; it counts towards
    the area of a hole, since it may be anything, so that slivers along no data are not filled. Pixels that are not on
    the Earth are no data.

    classify: `by_threshold` or `by_value`. unit_m: metres per unit of coordinates, without a CRS. block: rows in memory
    (width x block x 50 bytes, and some 60 bytes for each region); the bytes written do not depend on it. The raster is
    read once. Raises `GridError` without CRS and `unit_m`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".mask-") as folder, rasterio.open(raster) as source:
        strips, flat = _strips(source, classify, block, unit_m), Path(folder) / "mask.tif"
        with (Path(folder) / "runs").open("w+b") as runs:
            fresh: Iterator[np.ndarray] = (strip.classes[strip.shared :] for strip in strips)
            if min_area_m2 > 0:
                numbered = list(_number(strips, runs))
                becomes = _becomes(numbered, min_area_mm2=min_area_m2 * (1 - SLACK) * 1e6)
                fresh = _replay(runs, becomes, width=source.width)
            _write(fresh, source, flat)
        write_cog(flat, out, overviews="mode")


class _Strip(NamedTuple):
    """Rows of classes 0, 1 and 255, of which the first `shared` are the last of the strip above."""

    window: Window
    classes: UInt8[np.ndarray, "height width"]
    area_m2: Float64[np.ndarray, "height width"]
    shared: int


def _strips(source: DatasetReader, classify: Classify, rows: int, unit_m: float | None) -> Iterator[_Strip]:
    """The strips of the first band of a raster, each of `rows` new rows and the last row of the strip above."""
    (height, width), grid = source.shape, grid_of(source)
    last = np.zeros((0, width), np.uint8)
    for start in range(0, height, rows):
        fresh = Window(start, 0, min(rows, height - start), width)
        classes = np.concatenate([last, classify(source.read(1, window=fresh.in_file))])
        window = Window(start - len(last), 0, len(classes), width)
        area_m2 = pixel_area_m2(grid, window, unit_m=unit_m)
        classes[area_m2 == 0] = 255
        yield _Strip(window, classes, area_m2, len(last))
        last = classes[-1:]


class _Numbered(NamedTuple):
    """Regions of a strip, numbered through all strips.

    Per number: whether it is cropland, and the area of its fresh pixels (mm2). Pairs of numbers: regions beside each
    other; a region of the strip above and the same region in this one.
    """

    is_cropland: Bool[np.ndarray, "number"]
    area: Float64[np.ndarray, "number"]
    beside: Int64[np.ndarray, "2 pair"]
    seam: Int64[np.ndarray, "2 pair"]


def _number(strips: Iterable[_Strip], kept: BinaryIO) -> Iterator[_Numbered]:
    """Number the regions of each strip; the runs of equal pixels are kept, with their numbers, for `_replay`."""
    before, above = 0, np.zeros(0, np.int64)
    for strip, starts, number, is_cropland in prefetch(_label, strips, threads=2):
        classes = strip.classes.ravel()[starts]
        number += before
        lengths = np.diff(starts, append=strip.classes.size)
        row = starts // strip.window.width
        area = np.bincount(number - before, _fresh_mm2(strip, starts, lengths), minlength=len(is_cropland))
        first = np.searchsorted(row, [strip.shared, strip.window.height - 1])
        yield _Numbered(is_cropland, area, _beside(number, row), np.stack([above, number[: len(above)]]))
        for array in (lengths, classes, number):
            np.save(kept, array[first[0] :])
        before, above = before + len(is_cropland), number[first[1] :]


def _label(
    strip: _Strip,
) -> tuple[_Strip, Int64[np.ndarray, "run"], Int64[np.ndarray, "run"], Bool[np.ndarray, "number"]]:
    """A strip, its runs, the region of each run (cropland is numbered first), and which regions are cropland."""
    starts = run_starts(strip.classes)
    cropland, count = ndimage.label(strip.classes == 1, EDGES, output=np.int32)
    # Corners connect what is not cropland, since they do not connect cropland: a diagonal track is one region.
    other, others = ndimage.label(strip.classes != 1, CORNERS, output=np.int32)
    here, there = cropland.ravel()[starts].astype(np.int64), other.ravel()[starts].astype(np.int64)
    return strip, starts, np.where(here > 0, here - 1, there + (count - 1)), np.arange(count + others) < count


def _fresh_mm2(
    strip: _Strip, starts: Int64[np.ndarray, "run"], lengths: Int64[np.ndarray, "run"]
) -> Float64[np.ndarray, "run"]:
    """Area of each run by its middle pixel, in whole mm2; 0 in a row that the strip above has counted.

    Sums of whole numbers are exact up to 9,000 km2, far beyond any least area.
    """
    area: np.ndarray = np.rint(strip.area_m2.ravel()[starts + lengths // 2] * 1e6) * lengths
    area[starts < strip.shared * strip.window.width] = 0
    return area


def _beside(number: Int64[np.ndarray, "run"], row: Int64[np.ndarray, "run"]) -> Int64[np.ndarray, "2 pair"]:
    """Pairs of regions that share an edge.

    Pairs within rows are enough, except for rows of one run: two regions that meet along columns meet beside the
    shorter run.
    """
    first = np.flatnonzero(np.diff(row, prepend=-1))
    within = np.flatnonzero(np.diff(row) == 0)
    pairs = np.hstack([[number[within], number[within + 1]], [number[first[:-1]], number[first[1:]]]])
    pairs = np.sort(pairs[:, pairs[0] != pairs[1]], axis=0)
    size = int(number.max()) + 1
    return np.stack(np.divmod(np.unique(pairs[0] * size + pairs[1]), size))


def _becomes(strips: Sequence[_Numbered], *, min_area_mm2: float) -> UInt8[np.ndarray, "number"]:
    """The new class of each number: specks join what is beside them before holes are measured."""
    is_cropland, area = (np.concatenate([part[field] for part in strips]) for field in (0, 1))
    beside, seams = (np.concatenate([part[field] for part in strips], axis=1) for field in (2, 3))
    region = connected(len(area), seams)
    area = np.bincount(region, area)
    stays = np.zeros(len(area), bool)
    stays[region[is_cropland]] = True
    speck = stays & (area < min_area_mm2)
    stays &= ~speck
    if not stays.any():  # nothing that could have holes
        return np.zeros(len(region), np.uint8)
    merged = connected(len(area), region[beside[:, speck[region[beside[0]]]]])
    hole = (np.bincount(merged, area) < min_area_mm2)[merged]
    becomes: np.ndarray = (stays | hole)[region].astype(np.uint8)
    return becomes


def _replay(runs: BinaryIO, becomes: UInt8[np.ndarray, "number"], *, width: int) -> Iterator[np.ndarray]:
    """The fresh rows of each strip with the new classes of its regions."""
    end = runs.tell()
    runs.seek(0)
    while runs.tell() < end:
        lengths, classes, number = (np.load(runs) for _ in range(3))
        yield np.repeat(np.where(classes == 255, np.uint8(255), becomes[number]), lengths).reshape(-1, width)


def _write(fresh: Iterable[UInt8[np.ndarray, "height width"]], like: DatasetReader, out: Path) -> None:
    grid = {"height": like.height, "width": like.width, "crs": like.crs, "transform": like.transform}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "PACKBITS"}
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "BIGTIFF": "IF_SAFER"}
    with rasterio.open(out, "w", **profile, **grid, **layout) as target:
        target.write_colormap(1, COLOURS)
        target.set_band_description(1, "cropland")
        start = 0
        for rows in fresh:
            target.write(rows, 1, window=Window(start, 0, len(rows), like.width).in_file)
            start += len(rows)


def run_starts(values: np.ndarray) -> Int64[np.ndarray, "run"]:
    """Where runs of equal values begin, counted through the rows; each row begins one."""
    begins = np.ones(values.shape, bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts: np.ndarray = np.flatnonzero(begins)
    return starts


def connected(count: int, links: Int64[np.ndarray, "2 link"]) -> Int64[np.ndarray, "node"]:
    """The number of the component of each of `count` nodes, in the order of their first nodes."""
    graph = coo_array((np.ones(links.shape[1], bool), (links[0], links[1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    found: np.ndarray = component.astype(np.int64)
    return found
