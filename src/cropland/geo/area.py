"""Areas and lengths on the ellipsoid, in square metres, hectares and mu.

Places are taken to longitude and latitude in the CRS's own frame, and for areas on to the authalic sphere, whose areas
are those of the ellipsoid. Nothing is special there about a pole, the antimeridian, a prime meridian or a unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import atanh, ceil, hypot, sqrt
from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Float64, Int64
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from cropland.errors import GridError
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
    "is_on_earth",
    "pixel_area_m2",
    "pixel_edge_m",
    "pixel_edges_m",
]

MU_PER_HA = 15
MU_M2 = 10_000 / MU_PER_HA
CELL = 16  # pixels that share one area: it changes little over them, and their sum is right
CELL_M = 4_000.0  # longest edge of a flat piece of the Earth: its area is right to (edge / radius)^2 / 12
WIDE_M = 40_000.0  # the same where the next term is known from halves of the edge
LONGEST_M = 5_000.0  # piece of an edge of a polygon: a straight line of one projection is a curve in another
LARGEST_M = 3_000_000.0  # extent of a polygon that is measured as one
SOME = 1 << 14  # shapes that are measured at a time
ROUNDED = 1e-3  # degrees that the edge of a grid of the whole Earth may lie beyond a pole


def pixel_area_m2(
    grid: GeoBox, window: Window, *, unit_m: float | None = None, each: bool = False
) -> Float64[np.ndarray, "height width"]:
    """The area of each pixel of a window, in square metres on the ellipsoid of the grid's CRS; 0 if not on the Earth.

    unit_m: metres per unit of the coordinates, for a grid without a CRS. A window gives the same numbers as the same
    part of a larger one; neighbouring pixels in a cell of up to 16 x 16 share their mean, unless `each` asks for its
    own, which takes half a second per megapixel. Raises `GridError` without a CRS and without `unit_m`.
    """
    if grid.crs is None:
        return np.full(window.shape, abs(grid.affine.determinant) * _given(unit_m) ** 2)
    frame = _frame(grid.crs.proj)
    edge_m = max(hypot(grid.affine.a, grid.affine.d), hypot(grid.affine.b, grid.affine.e)) * frame.metres_per_unit
    cell = 1 if each else CELL
    while cell > 1 and cell * edge_m > CELL_M:
        cell //= 2
    pieces = 1 if edge_m <= CELL_M else 2 * ceil(edge_m / WIDE_M)
    rows, cols = (
        np.minimum(np.arange(first // cell, (first + count - 1) // cell + 2) * cell, length)
        for first, count, length in zip(window[:2], window[2:], grid.shape, strict=True)
    )
    height, width = np.diff(rows), np.diff(cols)
    cells = _areas(grid.affine, frame, rows, cols, pieces) / np.outer(height, width)
    area = cells.repeat(height, axis=0).repeat(width, axis=1)
    if cell > 1:
        for row, col in np.argwhere(np.isnan(cells)):  # the edge of the Earth crosses these
            down, along = np.arange(rows[row], rows[row + 1] + 1), np.arange(cols[col], cols[col + 1] + 1)
            place = np.s_[down[0] - rows[0] : down[-1] - rows[0], along[0] - cols[0] : along[-1] - cols[0]]
            area[place] = _areas(grid.affine, frame, down, along, pieces)
    top, left = window.row - rows[0], window.col - cols[0]
    inside: np.ndarray = area[top : top + window.height, left : left + window.width]
    inside[np.isnan(inside)] = 0
    return inside


def is_on_earth(grid: GeoBox) -> bool:
    """Whether every pixel of a grid is on the Earth, as far as its outline and some places within show."""
    if grid.crs is None:
        return True
    rows, cols = (np.linspace(0, length, 33) for length in grid.shape)
    return bool(np.isfinite(_frame(grid.crs.proj).degrees(*_lattice(grid.affine, rows, cols))).all())


def pixel_edge_m(grid: GeoBox, *, unit_m: float | None = None) -> float:
    """Edge in metres of the square that has the area of the pixel in the middle of the grid.

    Raises `GridError` as `pixel_area_m2` does, and for a middle that is not on the Earth.
    """
    along, down, sine = _middle_pixel(grid, unit_m)
    return sqrt(along * down * sine)


def pixel_edges_m(grid: GeoBox, *, unit_m: float | None = None) -> tuple[float, float]:
    """Lengths in metres of the pixel in the middle of the grid, along its row and down its column, for any rotation.

    Raises `GridError` as `pixel_edge_m` does.
    """
    along, down, _ = _middle_pixel(grid, unit_m)
    return along, down


def ellipsoidal_area_m2(shapes: GeoSeries, *, unit_m: float | None = None) -> Float64[np.ndarray, shape]:
    """Areas in square metres on the ellipsoid; edges are straight in the shapes' own CRS.

    The area of a shape is the same to the bit whatever is measured with it. unit_m: metres per unit, for shapes without
    a CRS. Raises `GridError` without a CRS and without `unit_m`, and for shapes that are not on the Earth.
    """
    if shapes.crs is None:
        return np.asarray(shapes.area.to_numpy(), np.float64) * _given(unit_m) ** 2
    frame = _frame(shapes.crs)
    areas = [_areas_of(some, frame) for some in _some_at_a_time(shapes)]
    found = np.concatenate([np.zeros(0), *areas])
    if not np.isfinite(found).all():
        raise _outside(shapes.crs)
    return found


def ellipsoidal_length_m(shapes: GeoSeries, *, unit_m: float | None = None) -> Float64[np.ndarray, shape]:
    """Lengths of lines, perimeters of polygons with their holes, in metres on the ellipsoid.

    Raises `GridError` as `ellipsoidal_area_m2` does.
    """
    if shapes.crs is None:
        return np.asarray(shapes.length.to_numpy(), np.float64) * _given(unit_m)
    frame = _frame(shapes.crs)
    lengths = [_lengths_of(some, frame) for some in _some_at_a_time(shapes)]
    found = np.concatenate([np.zeros(0), *lengths])
    if not np.isfinite(found).all():
        raise _outside(shapes.crs)
    return found


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


def _outside(crs: CRS) -> GridError:
    return GridError("the grid lies outside of {name}; give the right one with --crs", name=crs.name)


@dataclass(frozen=True)
class _Frame:
    """How coordinates of a CRS become places on the Earth.

    per_unit: degrees in the unit of its longitudes and latitudes. metres_per_unit: of its coordinates, where its scale
    is 1. radius: of the authalic sphere, in metres. series: from the latitude to the authalic one.
    """

    transformer: Transformer
    per_unit: float
    metres_per_unit: float
    geod: Geod
    radius: float
    series: tuple[float, ...]

    def degrees(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and latitude in the CRS's own frame; both not a number for what is not on the Earth."""
        longitude, latitude = (np.asarray(each) * self.per_unit for each in self.transformer.transform(x, y))
        off = ~(np.isfinite(longitude) & (np.abs(latitude) <= 90 + ROUNDED))
        return np.where(off, np.nan, longitude), np.where(off, np.nan, np.clip(latitude, -90, 90))

    def authalic(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitude and authalic latitude, in radians."""
        longitude, latitude = map(np.radians, self.degrees(x, y))
        sums = sum(factor * np.sin(2 * (k + 1) * latitude) for k, factor in enumerate(self.series))
        return longitude, latitude + sums


@lru_cache(maxsize=64)  # a transformer takes 8 ms to make
def _frame(crs: CRS) -> _Frame:
    geodetic, geod = crs.geodetic_crs, crs.get_geod()
    while geodetic is not None and geodetic.is_derived:  # a grid with a pole of its own
        geodetic = geodetic.source_crs
    if geodetic is None or geod is None:
        raise GridError("{name} has no ellipsoid; give another with --crs", name=crs.name)
    unit = crs.axis_info[0].unit_conversion_factor
    try:
        transformer = Transformer.from_crs(crs, geodetic, always_xy=True)
    except ProjError as error:  # a projection without an inverse
        raise GridError(
            "places in {name} have no known longitude and latitude; give another CRS", name=crs.name
        ) from error
    return _Frame(
        transformer,
        float(np.degrees(geodetic.axis_info[0].unit_conversion_factor)),
        unit * geod.a if crs.is_geographic else unit,
        geod,
        _authalic_radius(geod),
        _authalic_series(geod.f / (2 - geod.f)),
    )


def _authalic_radius(geod: Geod) -> float:
    """Of the sphere with the area of an ellipsoid."""
    squared = geod.f * (2 - geod.f)
    e = sqrt(squared)
    return float(geod.a * sqrt((1 + (1 - squared) * (atanh(e) / e if e else 1)) / 2))


def _authalic_series(n: float) -> tuple[float, ...]:
    """Factors of sin 2kφ by which the authalic latitude differs from the latitude φ; n: third flattening.

    Source: Karney (2024), On auxiliary latitudes, doi:10.1080/00396265.2023.2217604; to the 6th order, which is
    1e-16 on the Earth.
    """
    return (
        n * (-4 / 3 + n * (-4 / 45 + n * (88 / 315 + n * (538 / 4725 + n * (20824 / 467775 - n * 44732 / 2837835))))),
        n**2 * (34 / 45 + n * (8 / 105 + n * (-2482 / 14175 + n * (-37192 / 467775 - n * 12467764 / 212837625)))),
        n**3 * (-1532 / 2835 + n * (-898 / 14175 + n * (54968 / 467775 + n * 100320856 / 1915538625))),
        n**4 * (6007 / 14175 + n * (24496 / 467775 - n * 5884124 / 70945875)),
        n**5 * (-23356 / 66825 - n * 839792 / 19348875),
        n**6 * 570284222 / 1915538625,
    )


def _areas(
    affine: Affine, frame: _Frame, rows: Int64[np.ndarray, line], cols: Int64[np.ndarray, line], pieces: int
) -> Float64[np.ndarray, "row col"]:
    """Areas between lines of pixels, not a number where a corner is not on the Earth, 0 where none is.

    pieces: of an edge; with more than one, the areas in pieces of twice the edge are looked at as well, whose errors
    are four times as large.
    """
    steps = (np.arange((len(lines) - 1) * pieces + 1) / pieces for lines in (rows, cols))
    corners = (np.interp(step, np.arange(len(lines)), lines) for step, lines in zip(steps, (rows, cols), strict=True))
    longitude, latitude = frame.authalic(*_lattice(affine, *corners))
    across = np.cos(latitude)
    places = np.stack([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)])
    areas = _flat(places, pieces)
    if pieces > 1:
        areas += (areas - _flat(places[:, ::2, ::2], pieces // 2)) / 3
    known = np.isfinite(latitude[::pieces, ::pieces])
    some = known[1:, 1:] | known[1:, :-1] | known[:-1, 1:] | known[:-1, :-1]
    return np.where(some, areas * frame.radius**2, 0.0)


def _lattice(affine: Affine, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of all places at these rows and columns, which may be fractions."""
    a, b, c, d, e, f = affine[:6]
    col, row = np.meshgrid(cols, rows)
    return a * col + b * row + c, d * col + e * row + f


def _flat(places: Float64[np.ndarray, "xyz row col"], pieces: int) -> Float64[np.ndarray, "row col"]:
    """Areas of quadrangles between places of the unit sphere, `pieces` x `pieces` of them added up."""
    (a, b, c), (d, e, f) = places[:, 1:, 1:] - places[:, :-1, :-1], places[:, 1:, :-1] - places[:, :-1, 1:]
    areas = np.sqrt((b * f - c * e) ** 2 + (c * d - a * f) ** 2 + (a * e - b * d) ** 2) / 2  # by the diagonals
    height, width = areas.shape
    summed: np.ndarray = areas.reshape(height // pieces, pieces, width // pieces, pieces).sum(axis=(1, 3))
    return summed


def _middle_pixel(grid: GeoBox, unit_m: float | None) -> tuple[float, float, float]:
    """Lengths in metres of two edges of the pixel in the middle of a grid, and the sine of the angle between them."""
    a, b, _, d, e, _ = grid.affine[:6]
    if grid.crs is None:
        along, down = hypot(a, d), hypot(b, e)
        return along * _given(unit_m), down * _given(unit_m), abs(grid.affine.determinant) / (along * down)
    frame, (row, col) = _frame(grid.crs.proj), (length // 2 for length in grid.shape)
    corners = _lattice(grid.affine, np.array([row, row + 1]), np.array([col, col + 1]))
    longitude, latitude = (each.ravel()[:3] for each in frame.degrees(*corners))
    azimuth, _, (along, down) = frame.geod.inv(longitude[[0, 0]], latitude[[0, 0]], longitude[1:], latitude[1:])
    sine = abs(np.sin(np.radians(azimuth[1] - azimuth[0])))
    if not (np.isfinite(along) and np.isfinite(down) and along > 0 and down > 0):
        raise _outside(grid.crs.proj)
    return float(along), float(down), float(sine)


def _some_at_a_time(shapes: GeoSeries) -> Iterator[np.ndarray]:
    """What is measured of a point takes some hundred bytes, so that of all points is never in memory at once."""
    for first in range(0, len(shapes), SOME):
        yield shapes.iloc[first : first + SOME].to_numpy()


def _areas_of(shapes: np.ndarray, frame: _Frame) -> Float64[np.ndarray, shape]:
    """Not a number for a shape that is not on the Earth."""
    parts, owner = _small_parts(shapes, LARGEST_M / frame.metres_per_unit)
    rings, part = shapely.get_rings(_in_pieces(parts, frame), return_index=True)
    areas = _ring_areas(rings, frame)
    is_hole = np.diff(part, prepend=-1) == 0
    return np.bincount(owner[part], weights=np.where(is_hole, -areas, areas), minlength=len(shapes))


def _lengths_of(shapes: np.ndarray, frame: _Frame) -> Float64[np.ndarray, shape]:
    """Not a number for a shape that is not on the Earth."""
    lines, owner = _lines(_in_pieces(shapes, frame))
    points, line = shapely.get_coordinates(lines, return_index=True)
    ends = np.flatnonzero(line[1:] == line[:-1])
    longitude, latitude = frame.degrees(*points.T)
    _, _, lengths = frame.geod.inv(longitude[ends], latitude[ends], longitude[ends + 1], latitude[ends + 1])
    return np.bincount(owner[line[ends]], weights=lengths, minlength=len(shapes))


def _ring_areas(rings: np.ndarray, frame: _Frame) -> Float64[np.ndarray, ring]:
    """Areas within rings, each in Lambert's azimuthal equal-area projection about its first point.

    An edge is a parabola through its ends and its middle there, so its area is off from that of the chord by 4/3 of the
    triangle of these.
    """
    points, ring = shapely.get_coordinates(rings, return_index=True)
    here = np.flatnonzero(ring[1:] == ring[:-1])
    middles = (points[here] + points[here + 1]) / 2
    first = np.searchsorted(ring, np.arange(len(rings)))
    longitude, latitude = frame.authalic(*points.T)
    origin = longitude[first], latitude[first]
    x, y = _equal_area(longitude, latitude, *(each[ring] for each in origin))
    of = ring[here]
    u, v = _equal_area(*frame.authalic(*middles.T), *(each[of] for each in origin))
    x0, y0, x1, y1 = x[here], y[here], x[here + 1], y[here + 1]
    twice = (4 * (x0 * v - y0 * u + u * y1 - v * x1) - (x0 * y1 - y0 * x1)) / 3
    return np.abs(np.bincount(of, weights=twice, minlength=len(rings))) / 2 * frame.radius**2


def _equal_area(
    longitude: np.ndarray, latitude: np.ndarray, longitude0: np.ndarray, latitude0: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lambert's azimuthal equal-area projection of the unit sphere. Source: Snyder (1987), eq. 24-2 to 24-4."""
    cos, sin, cos0, sin0 = np.cos(latitude), np.sin(latitude), np.cos(latitude0), np.sin(latitude0)
    east, along = np.sin(longitude - longitude0), cos * np.cos(longitude - longitude0)
    scale = np.sqrt(2 / (1 + sin0 * sin + cos0 * along))
    return scale * cos * east, scale * (cos0 * sin - sin0 * along)


def _small_parts(shapes: np.ndarray, largest: float) -> tuple[np.ndarray, Int64[np.ndarray, part]]:
    """The parts of shapes, halved until none is larger than that, and the shape that each belongs to."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    while True:
        bounds = shapely.bounds(parts)
        size = bounds[:, 2:] - bounds[:, :2]
        large = size.max(axis=1, initial=0) > largest
        if not large.any():
            return parts, owner
        first, last, of_large = bounds[large, :2], bounds[large, 2:], parts[large]
        longer = np.arange(2) == size[large].argmax(axis=1)[:, None]
        middle = (first + last) / 2
        boxes = (first, np.where(longer, middle, last)), (np.where(longer, middle, first), last)
        halves = [shapely.intersection(of_large, shapely.box(*one.T, *other.T)) for one, other in boxes]
        cut, of = shapely.get_parts(np.concatenate(halves), return_index=True)
        is_area = shapely.get_dimensions(cut) == 2
        parts = np.concatenate([parts[~large], cut[is_area]])
        owner = np.concatenate([owner[~large], np.tile(owner[large], 2)[of[is_area]]])


def _in_pieces(shapes: np.ndarray, frame: _Frame) -> np.ndarray:
    """The shapes with long edges cut into pieces; small shapes have none."""
    longest = LONGEST_M / frame.metres_per_unit
    pieces: np.ndarray = np.array(shapes)
    large = shapely.length(shapely.envelope(pieces)) > 2 * longest
    pieces[large] = shapely.segmentize(pieces[large], longest)
    return pieces


def _lines(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings and lines, and the shape that each belongs to."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    is_area = shapely.get_dimensions(parts) == 2
    rings, of_part = shapely.get_rings(parts[is_area], return_index=True)
    return np.concatenate([rings, parts[~is_area]]), np.concatenate([owner[is_area][of_part], owner[~is_area]])
