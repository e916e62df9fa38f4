"""The grid of a mosaic, and where each map lies in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.warp import transform_bounds

from cropland.errors import GridError
from cropland.geo.grid import check_frames, geometric_mean, pixel_edges_m, user_crs
from cropland.geo.window import Window
from cropland.language import _

__all__ = ["Place", "choose_crs", "mosaic_grid", "place_in"]

SAME_PIXEL = 0.02  # sizes so near are one: 10 m is 9.99 m on the ground at another place of a zone
EMPTIEST = 50  # pixels of a mosaic for one of the maps in it
LARGE = 2**28  # pixels; a smaller mosaic may be as empty as it is
SAME_PLACE = 0.01  # pixels
SLACK = 1e-3  # pixels that a footprint may reach over a line of the grid without another pixel


@dataclass(frozen=True)
class Place:
    """The window of the mosaic that a map covers; `is_copied` where its pixels are pixels of the mosaic."""

    window: Window
    is_copied: bool


def choose_crs(grids: Sequence[GeoBox], names: Sequence[str], *, crs: str | None, shift: bool) -> CRS:
    """The CRS that was asked for, else that of most maps, of the first where as many have another.

    Raises `GridError` for a map without a CRS, or with one of a frame that PROJ cannot join, unless `shift`.
    """
    for grid, name in zip(grids, names, strict=True):
        if grid.crs is None:
            raise GridError(_("{name} has no CRS, so it has no place in a mosaic; give it with --crs", name=name))
    own = [_crs(grid) for grid in grids]
    chosen = user_crs(crs, option="--out-crs") if crs else Counter(own).most_common(1)[0][0]
    for each in own:
        check_frames(each, chosen, shift=shift)
    return chosen


def mosaic_grid(grids: Sequence[GeoBox], crs: CRS) -> GeoBox:
    """A grid over all of the given ones, with the pixel size of the finest.

    Where maps have the CRS already, it continues the finest of these, so that its pixels, and those of every map on
    the same lines, are taken over as they are. Raises `GridError` for maps that lie too far apart for one raster.
    """
    finest = min(grids, key=_pixel_m)
    upright = [grid for grid in grids if _crs(grid) == crs and _is_upright(grid.affine)]
    bounds = [_bounds(grid, crs) for grid in grids]
    if upright:
        anchor = min(upright, key=_pixel_m)
        ratio = _pixel_m(finest) / _pixel_m(anchor)
        affine = anchor.affine @ Affine.scale(1.0 if abs(ratio - 1) < SAME_PIXEL else ratio)
    else:
        size = _pixel_in(crs, finest, (bounds[0][0], bounds[0][3]))
        affine = Affine.scale(size, -size)
    spans = [_span(affine, each) for each in bounds]
    top, left = min(span[0] for span in spans), min(span[1] for span in spans)
    bottom, right = max(span[2] for span in spans), max(span[3] for span in spans)
    covered = sum((span[2] - span[0]) * (span[3] - span[1]) for span in spans)
    if (bottom - top) * (right - left) > max(LARGE, EMPTIEST * covered):
        raise GridError(
            _(
                "the scenes lie so far apart that less than {share:.0%} of their mosaic would have data; "
                "make one mosaic for each region",
                share=1 / EMPTIEST,
            )
        )
    return GeoBox((bottom - top, right - left), affine @ Affine.translation(left, top), crs.to_wkt())


def place_in(mosaic: GeoBox, grid: GeoBox) -> Place:
    """Where a map lies in the mosaic."""
    crs = _crs(mosaic)
    top, left, bottom, right = _span(mosaic.affine, _bounds(grid, crs))
    window = Window(top, left, bottom - top, right - left)
    height, width = grid.shape
    relative = ~mosaic.affine @ grid.affine
    corners = [(relative @ (col, row), (left + col, top + row)) for col, row in ((0, 0), (width, height), (width, 0))]
    off = max(abs(a - b) for got, wanted in corners for a, b in zip(got, wanted, strict=True))
    return Place(window, _crs(grid) == crs and off < SAME_PLACE)


def _crs(grid: GeoBox) -> CRS:
    return CRS.from_user_input(str(grid.crs))


def _pixel_m(grid: GeoBox) -> float:
    height, width = grid.shape
    return geometric_mean(pixel_edges_m(grid.affine, _crs(grid), row=height / 2, col=width / 2))


def _is_upright(affine: Affine) -> bool:
    return affine.b == affine.d == 0 and affine.a > 0 > affine.e


def _bounds(grid: GeoBox, crs: CRS) -> tuple[float, float, float, float]:
    """West, south, east and north in a CRS, along curved edges as well."""
    box, own = grid.boundingbox, _crs(grid)
    if own == crs:
        return float(box.left), float(box.bottom), float(box.right), float(box.top)
    west, south, east, north = transform_bounds(own.to_wkt(), crs.to_wkt(), *box.bbox, densify_pts=21)
    return west, south, east, north


def _pixel_in(crs: CRS, finest: GeoBox, corner: tuple[float, float]) -> float:
    """The pixel's edge in units of the CRS: the same number between metres and metres, else the same length."""
    own = _crs(finest)
    if own.is_projected and crs.is_projected and own.axis_info[0].unit_name == crs.axis_info[0].unit_name:
        return sqrt(abs(finest.affine.determinant))
    tiny = 1e-5
    unit_m = geometric_mean(pixel_edges_m(Affine.translation(*corner) @ Affine.scale(tiny), crs, row=0, col=0)) / tiny
    return _pixel_m(finest) / unit_m


def _span(affine: Affine, bounds: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """First row and column, and those after the last, of an upright grid's pixels under some bounds."""
    west, south, east, north = bounds
    (left, top), (right, bottom) = ~affine @ (west, north), ~affine @ (east, south)
    return floor(top + SLACK), floor(left + SLACK), ceil(bottom - SLACK), ceil(right - SLACK)
