"""Areas of the strata of a mask within polygons, with exact fractions of the pixels that an edge cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from geopandas import GeoDataFrame
from jaxtyping import Float64, Int64
from shapely import affinity

from cropland.geo.mask import UNMAPPED, Mask
from cropland.geo.regions import named_regions
from cropland.geo.window import tiles
from cropland.sampling.strata import Strata, watched

__all__ = ["areas_within", "coverage", "placed", "points_within", "read_regions"]

TILE = 512  # pixels along the edge of a tile in which polygons are clipped
LONGEST_M = 1000.0  # of an edge that is transformed as one: a straight line of another CRS is a curve, by centimetres
Segments = Float64[np.ndarray, "segment 4"]  # x0, y0, x1, y1


def read_regions(path: Path, mask: Mask, *, name: str | None = None, allow_datum_shift: bool = False) -> GeoDataFrame:
    """The regions of a layer of polygons in the CRS of a mask, with the column `region`.

    name: the column that names them, else one called name; a region without a name has its number, from 1 on.
    Raises `LabelError` for a layer or column that is not there, `GridError` as `to_grid_crs` does.
    """
    grid = mask.scene.grid
    crs = None if grid.crs is None else grid.crs.to_wkt()
    found = named_regions(path, crs, longest_m=LONGEST_M, name=name, allow_datum_shift=allow_datum_shift)
    return found[["region", "geometry"]]


def placed(regions: GeoDataFrame, mask: Mask) -> np.ndarray:
    """The regions in columns and rows of the mask, prepared."""
    a, b, c, d, e, f = (~mask.scene.grid.affine)[:6]
    matrix, origin = np.array([[a, d], [b, e]]), np.array([c, f])
    shapes: np.ndarray = shapely.transform(regions.geometry.to_numpy(), lambda points: points @ matrix + origin)
    shapely.prepare(shapes)
    return shapes


def areas_within(shapes: np.ndarray, mask: Mask, strata: Strata) -> Float64[np.ndarray, "region stratum_or_unmapped 2"]:
    """Square metres on the ellipsoid of each stratum and class (0, 1) within regions, in one pass over the mask.

    The last stratum is ground without data. shapes: as `placed` gives them. A pixel that an edge cuts counts with the
    exact fraction of it that lies within, and only tiles that a region meets are read.
    """
    kinds, tree = len(strata.names) + 1, shapely.STRtree(shapes)
    total = np.zeros((len(shapes), kinds, 2))
    for tile in watched(tiles(mask.shape, size=TILE, halo=strata.halo, stride=1)):
        row, col, height, width = tile.core
        box = shapely.box(col, row, col + width, row + height)
        here = tree.query(box, predicate="intersects")
        if not len(here):
            continue
        number, value = strata.read(mask, tile)
        mapped = number != UNMAPPED
        cell = np.where(mapped, 2 * number.astype(np.int64) + value, 2 * (kinds - 1)).ravel()
        whole = shapely.contains(shapes[here], box)
        area = mask.area_m2(tile.core, each=not whole.all())
        for region, is_whole in zip(here, whole, strict=True):
            part = 1.0 if is_whole else coverage(_clipped(shapes[region], box, row, col), (height, width))
            total[region] += np.bincount(cell, (area * part).ravel(), minlength=2 * kinds).reshape(kinds, 2)
    return total


def _clipped(shape: shapely.Geometry, box: shapely.Geometry, row: int, col: int) -> shapely.Geometry:
    part = shapely.clip_by_rect(shape, *box.bounds)
    moved: shapely.Geometry = affinity.translate(part, -col, -row)
    return moved


def coverage(shape: shapely.Geometry, size: tuple[int, int]) -> Float64[np.ndarray, "height width"]:
    """The exact fraction of each pixel that lies in polygons, which are in columns and rows within the window.

    Every edge is cut at the lines between pixels. A piece of it closes, in its row, what lies to its right: the
    trapezoid within its own pixel, and all pixels beyond, which a running sum adds.
    Source: the signed areas of Levien (2016), "Inside the fastest font renderer in the world".
    """
    height, width = size
    rings, ring = shapely.get_coordinates(
        shapely.get_rings(shapely.orient_polygons(shapely.get_parts(shape))), return_index=True
    )
    follows = ring[1:] == ring[:-1]
    edges = np.hstack([rings[:-1], rings[1:]])[follows]
    down = np.where(edges[:, 3] > edges[:, 1], 1.0, -1.0)
    edges, owner = _cut(edges, axis=1)
    edges, again = _cut(edges, axis=0)
    x, y = (edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2
    drop = down[owner[again]] * np.abs(edges[:, 3] - edges[:, 1])
    row, col = (np.clip(at.astype(np.int64), 0, end - 1) for at, end in ((y, height), (x, width)))
    cells = row * (width + 1) + col
    right = np.clip(x - col, 0, 1)  # what of the pixel lies to the left of the piece
    sums = np.bincount(cells, drop * (1 - right), minlength=height * (width + 1))
    sums += np.bincount(cells + 1, drop * right, minlength=len(sums))[: len(sums)]
    fractions = np.abs(sums.reshape(height, width + 1).cumsum(axis=1)[:, :width])
    return np.asarray(np.minimum(fractions, 1))


def _cut(edges: Segments, *, axis: int) -> tuple[Segments, Int64[np.ndarray, " piece"]]:
    """The edges cut where one coordinate is a whole number, and the edge that each piece is of."""
    a, b = edges[:, axis], edges[:, axis + 2]
    forward = b > a
    low, high = np.minimum(a, b), np.maximum(a, b)
    first = np.floor(low) + 1
    lines = np.maximum(np.ceil(high) - first, 0).astype(np.int64)
    owner = np.repeat(np.arange(len(edges)), lines + 1)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(lines + 1) - lines - 1, lines + 1)
    length = np.where(high > low, high - low, 1.0)

    def along(number: Int64[np.ndarray, " piece"]) -> Float64[np.ndarray, " piece"]:
        """Where a line is, as a share of the way from the lower end to the higher."""
        share = (first[owner] + number - 1 - low[owner]) / length[owner]
        return np.where(number <= 0, 0.0, np.where(number > lines[owner], 1.0, share))

    start, end = along(step), along(step + 1)
    way = np.where(forward[owner], start, 1 - end), np.where(forward[owner], end, 1 - start)
    here, span = edges[owner, :2], (edges[:, 2:] - edges[:, :2])[owner]
    return np.hstack([here + span * each[:, None] for each in way]), owner


def points_within(
    shapes: np.ndarray, rows: Int64[np.ndarray, " point"], cols: Int64[np.ndarray, " point"]
) -> list[Int64[np.ndarray, " index"]]:
    """For each region, which of these pixels have their centre in it."""
    centres = shapely.points(cols + 0.5, rows + 0.5)
    point, region = shapely.STRtree(shapes).query(centres, predicate="within")
    return [np.sort(point[region == number]) for number in range(len(shapes))]
