"""Areas and lengths on the ellipsoid, in square metres, hectares and mu."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import shapely
from jaxtyping import Float64
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import LambertCylindricalEqualAreaConversion

from cropland.errors import GridError
from cropland.geo.grid import to_geodetic
from cropland.geo.window import Window
from cropland.language import _, language

if TYPE_CHECKING:  # half a second, which the network of a map would wait for
    from geopandas import GeoSeries

__all__ = [
    "MU_M2",
    "MU_PER_HA",
    "area_words",
    "default_min_area_m2",
    "ellipsoidal_area_m2",
    "ellipsoidal_length_m",
    "pixel_area_m2",
    "pixel_edge_m",
]

MU_PER_HA = 15
MU_M2 = 10_000 / MU_PER_HA
CELL = 16  # pixels that share one area: it changes by less than 1e-4 over them, and their sum is right
LONGEST_M = 2000.0  # piece of an edge: a straight line of one projection is a curve in another


def pixel_area_m2(grid: GeoBox, window: Window, *, unit_m: float | None = None) -> Float64[np.ndarray, "height width"]:
    """The area of each pixel of a window, in square metres on the ellipsoid of the grid's CRS.

    unit_m: metres per unit of the coordinates, for a grid without a CRS. A window gives the same numbers as the same
    part of a larger one; neighbouring pixels in a cell of 16 x 16 share their mean. Raises `GridError` without a CRS
    and without `unit_m`.
    """
    if grid.crs is None:
        return np.full(window.shape, abs(grid.affine.determinant) * _given(unit_m) ** 2)
    rows, cols = (np.arange(first, first + count) // CELL for first, count in zip(window[:2], window[2:], strict=True))
    cells = _cell_areas(grid, (rows[0], rows[-1] + 1), (cols[0], cols[-1] + 1)) / CELL**2
    return cells[np.ix_(rows - rows[0], cols - cols[0])]


def pixel_edge_m(grid: GeoBox, *, unit_m: float | None = None) -> float:
    """Edge of the pixel in the middle of the grid, in metres (geometric mean of the two edges).

    Raises `GridError` as `pixel_area_m2` does.
    """
    height, width = grid.shape
    return sqrt(float(pixel_area_m2(grid, Window(height // 2, width // 2, 1, 1), unit_m=unit_m)[0, 0]))


def ellipsoidal_area_m2(
    shapes: GeoSeries, *, unit_m: float | None = None, middle: tuple[float, float] | None = None
) -> Float64[np.ndarray, shape]:
    """Areas in square metres on the ellipsoid; edges are straight in the shapes' own CRS.

    middle: of the projection; that of their bounds if not given. With one middle, the area of a shape is the same to
    the bit whatever is measured with it. unit_m: metres per unit, for shapes without a CRS. Raises `GridError` without
    a CRS and without `unit_m`.
    """
    if shapes.crs is None:
        return np.asarray(shapes.area.to_numpy(), np.float64) * _given(unit_m) ** 2
    if middle is None:
        left, bottom, right, top = shapes.total_bounds
        middle = (left + right) / 2, (bottom + top) / 2
    to_equal_area = _to_equal_area(shapes.crs, middle)
    projected = shapely.transform(_in_pieces(shapes), to_equal_area.transform, interleaved=False)
    return np.asarray(shapely.area(projected), np.float64)


def ellipsoidal_length_m(shapes: GeoSeries, *, unit_m: float | None = None) -> Float64[np.ndarray, shape]:
    """Lengths of lines, perimeters of polygons with their holes, in metres on the ellipsoid.

    Raises `GridError` as `ellipsoidal_area_m2` does.
    """
    if shapes.crs is None:
        return np.asarray(shapes.length.to_numpy(), np.float64) * _given(unit_m)
    pieces = _in_pieces(shapes)
    lines, owner = _lines(pieces)
    points, line = shapely.get_coordinates(lines, return_index=True)
    ends = np.flatnonzero(line[1:] == line[:-1])
    project, geod = to_geodetic(shapes.crs)
    longitude, latitude = project.transform(*points.T)
    _, _, lengths = geod.inv(longitude[ends], latitude[ends], longitude[ends + 1], latitude[ends + 1])
    return np.bincount(owner[line[ends]], weights=lengths, minlength=len(shapes))


def default_min_area_m2(pixel_m: float) -> float:
    """The least area of a mapped field, or of a gap in one: 400 m2, or ten pixels where these are larger.

    400 m2 is the least area of agricultural land in China's third land survey. Source: TD/T 1055-2019.
    """
    return max(400.0, 10 * pixel_m**2)


def area_words(area_ha: float, *, digits: int) -> str:
    """Hectares with `digits` digits after the point, in Chinese followed by mu (1 mu is 1/15 ha)."""
    area = f"{area_ha:,.{digits}f}"
    if language() != "zh":
        return _("{area} ha", area=area)
    mu = area_ha * MU_PER_HA
    return _("{area} ha ({mu} mu)", area=area, mu=f"{mu:,.0f}" if mu >= 100 else f"{mu:,.1f}")


def _given(unit_m: float | None) -> float:
    if unit_m is None:
        raise GridError("no coordinate reference system, so areas are not known; give it with --crs, or --pixel-m")
    return unit_m


def _cell_areas(grid: GeoBox, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
    """Areas of cells of CELL x CELL pixels by their corners in an equal-area projection."""
    col, row = np.meshgrid(np.arange(cols[0], cols[1] + 1) * CELL, np.arange(rows[0], rows[1] + 1) * CELL)
    a, b, c, d, e, f = grid.affine[:6]
    middle = grid.affine @ (grid.shape[1] / 2, grid.shape[0] / 2)
    to_equal_area = _to_equal_area(CRS.from_user_input(str(grid.crs)), middle)
    x, y = to_equal_area.transform(a * col + b * row + c, d * col + e * row + f)
    # Half the cross product of the diagonals.
    x1, y1 = x[1:, 1:] - x[:-1, :-1], y[1:, 1:] - y[:-1, :-1]
    x2, y2 = x[1:, :-1] - x[:-1, 1:], y[1:, :-1] - y[:-1, 1:]
    areas: np.ndarray = np.abs(x1 * y2 - x2 * y1) / 2
    return areas


@lru_cache(maxsize=8)  # a transformer takes 8 ms to make
def _to_equal_area(crs: CRS, middle: tuple[float, float]) -> Transformer:
    """To a cylindrical equal-area projection of the same frame, whose edge is half around the Earth from the middle."""
    longitude, _ = to_geodetic(crs)[0].transform(*middle)
    conversion = LambertCylindricalEqualAreaConversion(longitude_natural_origin=float(longitude))
    return Transformer.from_crs(crs, ProjectedCRS(conversion, geodetic_crs=crs.geodetic_crs), always_xy=True)


def _in_pieces(shapes: GeoSeries) -> np.ndarray:
    """The shapes with long edges cut into pieces; small shapes have none."""
    metres_per_unit = shapes.crs.axis_info[0].unit_conversion_factor
    if shapes.crs.is_geographic:
        metres_per_unit *= to_geodetic(shapes.crs)[1].a
    longest = LONGEST_M / metres_per_unit
    pieces: np.ndarray = np.array(shapes.to_numpy())
    large = shapely.length(shapely.envelope(pieces)) > 2 * longest
    pieces[large] = shapely.segmentize(pieces[large], longest)
    return pieces


def _lines(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings and lines, and the shape that each belongs to."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    is_area = shapely.get_dimensions(parts) == 2
    rings, of_part = shapely.get_rings(parts[is_area], return_index=True)
    return np.concatenate([rings, parts[~is_area]]), np.concatenate([owner[is_area][of_part], owner[~is_area]])
