"""Areas of the strata of a mask within polygons, with exact fractions of the pixels that an edge cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from geopandas import GeoDataFrame
from jaxtyping import Float64, Int64

from cropland.geo.coverage import in_pixels, sums_within
from cropland.geo.mask import UNMAPPED, Mask
from cropland.geo.regions import named_regions
from cropland.geo.window import tiles
from cropland.sampling.strata import Strata, watched

__all__ = ["areas_within", "placed", "points_within", "read_regions"]

TILE = 512  # pixels along the edge of a tile in which polygons are clipped
LONGEST_M = 1000.0  # of an edge that is transformed as one: a straight line of another CRS is a curve, by centimetres


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
    shapes = in_pixels(regions.geometry.to_numpy(), mask.scene.grid.affine)
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
        cell = np.where(mapped, 2 * number.astype(np.int64) + value, 2 * (kinds - 1))
        area = mask.area_m2(tile.core, each=not shapely.contains(shapes[here], box).all())
        sums = sums_within(shapes[here], tile.core, cell, area, count=2 * kinds)
        total[here] += sums.reshape(-1, kinds, 2)
    return total


def points_within(
    shapes: np.ndarray, rows: Int64[np.ndarray, " point"], cols: Int64[np.ndarray, " point"]
) -> list[Int64[np.ndarray, " index"]]:
    """For each region, which of these pixels have their centre in it."""
    centres = shapely.points(cols + 0.5, rows + 0.5)
    point, region = shapely.STRtree(shapes).query(centres, predicate="within")
    return [np.sort(point[region == number]) for number in range(len(shapes))]
