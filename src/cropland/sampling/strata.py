"""A mask is divided into strata, from which points are drawn, and what is counted of each: pixels and area.

A stratum is not a map class: a pixel of any stratum may be mapped as cropland or not. Everything is done in blocks of a
fixed lattice, each with what lies around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from jaxtyping import Bool, Float64, Int64, UInt8
from rasterio.errors import RasterioError
from scipy.ndimage import distance_transform_edt

from cropland.errors import GridError, InputError, SceneError
from cropland.geo.area import pixel_edges_m
from cropland.geo.mask import UNMAPPED, Mask
from cropland.geo.window import Tile, tiles
from cropland.language import Message
from cropland.probability import LEVELS, NO_DATA, ONE
from cropland.progress import megapixels, progress_bar

__all__ = ["BLOCK", "Census", "Kind", "Strata", "census", "make_strata", "watched"]

Kind = Literal["mask", "probability", "edge"]
BLOCK = 1024  # pixels along the edge of a block: part of the hash and of the draw, so it never changes
LIMITS = (0.1, 0.5, 0.9)  # of the probability, between strata
EDGE_PIXELS = 2.0  # on either side of an edge, if not given


@dataclass(frozen=True, eq=False)
class Strata:
    """A partition of the mapped pixels.

    map_classes: the class of all pixels of a stratum, None where it holds both. classify: the stratum (0, 1, ...) of
    every pixel of the core of a tile, `UNMAPPED` where there is none, from the mask in its padded window.
    """

    kind: Kind
    names: tuple[Message, ...]
    map_classes: tuple[int | None, ...]
    halo: int
    classify: Callable[[Tile, UInt8[np.ndarray, "height width"]], UInt8[np.ndarray, "height width"]]
    edge_m: float | None = None
    probability: Path | None = None

    def blocks(self, mask: Mask) -> list[Tile]:
        """The blocks of the lattice in row order, each with the window that its strata need."""
        return tiles(mask.shape, size=BLOCK, halo=self.halo, stride=1)

    def read(
        self, mask: Mask, tile: Tile
    ) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "height width"]]:
        """Stratum and map class of every pixel of the core of a tile."""
        values = mask.read(tile.padded)
        return self.classify(tile, values), values[tile.inner.slices]


def make_strata(mask: Mask, kind: Kind, *, probability: Path | None = None, edge_m: float | None = None) -> Strata:
    """The strata of a mask.

    mask: its two classes. probability: 0, 0.1, 0.5, 0.9, 1 are the limits; `probability` is a raster on the grid of the
    mask. edge: what lies within `edge_m` metres (two pixels if not given) of a line between the classes, on either
    side, and what is left of each class; metres are those of the pixel in the middle of the mask. Edges of no data and
    of the raster are no such lines.
    Raises `InputError` without a probability where one is needed, `GridError` where it is on another grid.
    """
    if edge_m is not None and kind != "edge":
        raise InputError("--edge-m is the width of the stratum along edges; the strata '{kind}' have none", kind=kind)
    other, cropland = Message("not cropland"), Message("cropland")
    if kind == "mask":
        return Strata(kind, (other, cropland), (0, 1), 0, lambda tile, values: values)
    if kind == "probability":
        if probability is None:
            raise InputError(
                "{mask} has no probability.tif beside it; give the file as --probability FILE, or other --strata",
                mask=mask.path,
            )
        open_probability(probability, mask)
        return Strata(kind, *_by_probability(probability), probability=probability)
    along, down = pixel_edges_m(mask.scene.grid, unit_m=mask.scene.unit_m)
    pixel_m = (along * down) ** 0.5
    width_m = EDGE_PIXELS * pixel_m if edge_m is None else edge_m
    # To the edge of the other class is half a pixel less than to the centre of its nearest pixel.
    reach_m = width_m + pixel_m / 2

    def classify(tile: Tile, values: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
        near = _near(values, 0, (down, along), reach_m) | _near(values, 1, (down, along), reach_m)
        # not cropland, near an edge, cropland
        numbers: UInt8[np.ndarray, "height width"]
        numbers = np.where(values == UNMAPPED, UNMAPPED, np.where(near, 1, 2 * values)).astype(np.uint8)
        return numbers[tile.inner.slices]

    near_edge = Message("within {metres:.3g} m of an edge", metres=width_m)
    halo = ceil(reach_m / min(along, down)) + 1
    return Strata(kind, (other, near_edge, cropland), (0, None, 1), halo, classify, edge_m=width_m)


def _near(
    values: UInt8[np.ndarray, "height width"], its: int, pixel_m: tuple[float, float], reach_m: float
) -> Bool[np.ndarray, "height width"]:
    """Pixels of a class whose centre is so near to that of a pixel of the other class."""
    others: Bool[np.ndarray, "height width"] = values == 1 - its
    if not others.any():
        return others
    near: np.ndarray = (values == its) & (distance_transform_edt(~others, sampling=pixel_m) <= reach_m * (1 + 1e-9))
    return near


def _by_probability(
    path: Path,
) -> tuple[
    tuple[Message, ...],
    tuple[None, ...],
    int,
    Callable[[Tile, UInt8[np.ndarray, "height width"]], UInt8[np.ndarray, "height width"]],
]:
    bounds = (0, *LIMITS, 1)
    names = [Message("probability {low:g} to {high:g}", low=low, high=high) for low, high in pairwise(bounds)]
    numbers = np.append(np.searchsorted(LIMITS, np.arange(LEVELS) / ONE, side="right"), len(LIMITS) + 1)
    table = numbers.astype(np.uint8)  # the last is of pixels that are mapped, but without a probability

    def classify(tile: Tile, values: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
        with rasterio.open(path) as file:
            levels = file.read(1, window=tile.core.in_file)
        return np.where(values[tile.inner.slices] == UNMAPPED, UNMAPPED, table[levels]).astype(np.uint8)

    return (*names, Message("no probability")), (None,) * (len(names) + 1), 0, classify


def open_probability(path: Path, mask: Mask) -> None:
    """Check that a probability lies on the grid of the mask, one byte a pixel."""
    try:
        with rasterio.open(path) as file:
            is_byte = file.count == 1 and file.dtypes[0] == "uint8"
            fits = file.shape == mask.shape and file.transform.almost_equals(mask.scene.grid.affine, 1e-6)
    except RasterioError as error:
        raise SceneError(
            "{path} cannot be read ({error}); expected the probability.tif of a map", path=path, error=error
        ) from error
    if not is_byte:
        raise SceneError(
            "{path} is no probability: expected one band of bytes, p x 254, as `cropland map` writes it", path=path
        )
    if not fits:
        raise GridError(
            "{name} is not on the grid of the mask; give the one that the mask was made from", name=path.name
        )


@dataclass(frozen=True, eq=False)
class Census:
    """What is counted of a whole mask.

    digest: of its content. pixels: of each stratum. area_m2: by stratum and class (0, 1) on the ellipsoid.
    unmapped_m2: pixels without data. probability: the mean of each stratum, NaN without one.
    """

    digest: str
    pixels: Int64[np.ndarray, " stratum"]
    area_m2: Float64[np.ndarray, "stratum 2"]
    unmapped_m2: float
    probability: Float64[np.ndarray, " stratum"]


def census(mask: Mask, strata: Strata, *, probability: Path | None = None) -> Census:
    """Count the pixels and areas of strata, in one pass over the mask.

    The digest is the SHA-256 of shape, transform, CRS and the pixels, block by block in row order: a copy with another
    compression or other tiles is the same mask. probability: a raster on the grid of the mask for the means.
    Raises `SceneError` if the mask holds other values than 0, 1 and no data, or nothing else than no data.
    """
    grid, kinds = mask.scene.grid, len(strata.names)
    crs = "" if grid.crs is None else grid.crs.to_epsg() or grid.crs.to_wkt()
    digest = sha256(repr((mask.shape, tuple(map(float, grid.affine[:6])), str(crs))).encode())
    pixels, area_m2, unmapped_m2 = np.zeros(kinds, np.int64), np.zeros((kinds, 2)), 0.0
    levels = np.zeros((kinds, LEVELS + 1), np.int64)
    for tile in watched(strata.blocks(mask)):
        number, value = strata.read(mask, tile)
        digest.update(value.tobytes())
        area, mapped = mask.area_m2(tile.core), number != UNMAPPED
        unmapped_m2 += float(area[~mapped].sum())
        place = number[mapped].astype(np.int64)
        pixels += np.bincount(place, minlength=kinds)
        area_m2 += np.bincount(2 * place + value[mapped], area[mapped], minlength=2 * kinds).reshape(-1, 2)
        if probability is not None:
            with rasterio.open(probability) as file:
                level = file.read(1, window=tile.core.in_file)[mapped]
            cells = place * (LEVELS + 1) + level
            levels += np.bincount(cells, minlength=levels.size).reshape(levels.shape)
    if not pixels.any():
        raise SceneError("{path} is all no data; there is nothing to draw points from", path=mask.path)
    known = np.delete(levels, NO_DATA, axis=1)
    with np.errstate(invalid="ignore"):
        means = known @ np.arange(LEVELS) / ONE / known.sum(axis=1)
    return Census(digest.hexdigest(), pixels, area_m2, unmapped_m2, means)


def watched(blocks: list[Tile]) -> Iterator[Tile]:
    """The blocks, one by one, with a progress bar of megapixels."""
    with progress_bar(total=sum(tile.core.height * tile.core.width for tile in blocks), rate=megapixels) as bar:
        for tile in blocks:
            yield tile
            bar(tile.core.height * tile.core.width)
