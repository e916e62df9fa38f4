"""Outlines of the regions of a mask: polygons without the staircase of pixels, in pixel coordinates."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from jaxtyping import Int64
from rasterio.features import shapes

__all__ = ["Outlines", "trace_outlines"]


class Outlines(NamedTuple):
    """Polygons in (column, row) coordinates and, as where each is, its first pixel from the top left (row, column)."""

    polygons: np.ndarray
    first_pixel: Int64[np.ndarray, "polygon 2"]


class _Rings(NamedTuple):
    """Rings without their closing point, one after another: points, points per ring, polygon of each ring."""

    points: np.ndarray
    sizes: Int64[np.ndarray, "ring"]
    polygon: Int64[np.ndarray, "ring"]


def trace_outlines(mask: Path, *, tolerance: float) -> Outlines:
    """The outlines of cropland (1) that is connected by edges, in the order of their first pixels.

    Each outline runs through the middles of the pixel edges, where a staircase is a straight line and regions that
    touch at corners part (marching squares; Lorensen and Cline 1987, doi:10.1145/37402.37422); a region loses half a
    pixel of area by that. Then all outlines are simplified together, so that none crosses itself or another: points go
    that span a triangle of less than `tolerance` squared, in pixels (Visvalingam and Whyatt 1993,
    doi:10.1179/000870493786962263).
    """
    rings = _polygonize(mask)
    if len(rings.sizes) == 0:
        return Outlines(np.empty(0, object), np.empty((0, 2), np.int64))
    first = _first_pixel(rings)
    order = np.lexsort(first.T[::-1])
    polygons = _polygons(_without_collinear(_through_middles(rings)))[order]
    if tolerance > 0:
        polygons = shapely.coverage_simplify(polygons, tolerance)
    return Outlines(polygons, first[order])


def _polygonize(mask: Path) -> _Rings:
    with rasterio.open(mask) as source:
        rings, to_pixels = list(_rings(source)), ~source.transform
    if not rings:
        return _Rings(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    points, polygon = zip(*rings, strict=True)
    # GDAL places the corners by the transform of the file; in pixels they are whole numbers.
    corners = np.rint(np.column_stack(to_pixels @ tuple(np.concatenate(points).T))).astype(np.int64)
    return _Rings(corners, np.array([len(ring) for ring in points]), np.array(polygon))


def _rings(source: rasterio.io.DatasetReader) -> Iterator[tuple[np.ndarray, int]]:
    """Corners of each ring, the shell of a polygon before its holes, and the number of the polygon."""
    number, band = 0, rasterio.band(source, 1)
    for shape, value in shapes(band, mask=band):
        if value == 1:
            for ring in shape["coordinates"]:
                yield np.array(ring[:-1]), number
            number += 1


def _first_pixel(rings: _Rings) -> Int64[np.ndarray, "polygon 2"]:
    """The leftmost corner of the topmost edge is the corner of the first pixel in reading order."""
    starts = np.flatnonzero(np.diff(rings.polygon[_ring_of(rings.sizes)], prepend=-1))
    width = int(rings.points[:, 0].max()) + 1
    first = np.minimum.reduceat(rings.points[:, 1] * width + rings.points[:, 0], starts)
    return np.stack(np.divmod(first, width), axis=1)


def _through_middles(rings: _Rings) -> _Rings:
    """Replace each edge by what lies between the middles of its first and its last pixel."""
    following, _ = _neighbours(rings.sizes)
    edge = rings.points[following] - rings.points
    half = np.sign(edge) / 2
    ends = np.stack([rings.points + half, rings.points[following] - half], axis=1)
    kept = np.ones(ends.shape[:2], bool)
    kept[:, 1] = np.abs(edge).sum(axis=1) > 1
    return _kept(rings._replace(points=ends), kept)


def _without_collinear(rings: _Rings) -> _Rings:
    following, preceding = _neighbours(rings.sizes)
    into, out_of = rings.points - rings.points[preceding], rings.points[following] - rings.points
    # Exact: coordinates are multiples of a half.
    kept = into[:, 0] * out_of[:, 1] != into[:, 1] * out_of[:, 0]
    return _kept(rings._replace(points=rings.points[:, None]), kept[:, None])


def _kept(rings: _Rings, kept: np.ndarray) -> _Rings:
    """The rings with some of the candidates (point candidate 2) of each point."""
    return rings._replace(
        points=rings.points[kept], sizes=np.add.reduceat(kept.sum(axis=1), _starts(rings.sizes)).astype(np.int64)
    )


def _polygons(rings: _Rings) -> np.ndarray:
    lines = shapely.linearrings(rings.points, indices=_ring_of(rings.sizes))
    polygons: np.ndarray = shapely.polygons(lines, indices=rings.polygon)
    return polygons


def _starts(sizes: Int64[np.ndarray, "ring"]) -> Int64[np.ndarray, "ring"]:
    starts: np.ndarray = np.cumsum(sizes) - sizes
    return starts


def _ring_of(sizes: Int64[np.ndarray, "ring"]) -> Int64[np.ndarray, "point"]:
    return np.repeat(np.arange(len(sizes)), sizes)


def _neighbours(sizes: Int64[np.ndarray, "ring"]) -> tuple[Int64[np.ndarray, "point"], Int64[np.ndarray, "point"]]:
    """The index of the following and of the preceding point of each point, around its ring."""
    index, starts = np.arange(sizes.sum()), _starts(sizes)
    following, preceding = index + 1, index - 1
    following[starts + sizes - 1], preceding[starts] = starts, starts + sizes - 1
    return following, preceding
