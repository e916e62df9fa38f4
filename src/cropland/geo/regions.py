"""Regions by which figures are given or parcels are cut: polygons with a name, in the CRS of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from geopandas import GeoDataFrame
from pyproj import CRS

from cropland.geo.features import open_layer
from cropland.geo.vectors import check_columns, read_polygons, to_grid_crs

__all__ = ["NAMES", "named_regions"]

NAMES = ("name", "NAME", "Name", "名称")  # of the column, where none is given
DEGREE_M = 100_000.0  # metres that a degree counts as, where only the order of magnitude matters


def named_regions(
    path: Path,
    crs: object,
    *,
    longest_m: float,
    name: str | None = None,
    encoding: str | None = None,
    allow_datum_shift: bool = False,
) -> GeoDataFrame:
    """The polygons of a layer in another CRS, with their attributes and the column `region`, which is the first.

    crs: as in `to_grid_crs`. longest_m: edge that is transformed as one, since a straight line is a curve in another
    CRS; neighbours that share an edge share it afterwards. name: the column that names them, else one called name; a
    region without a name has its number, from 1 on. encoding: of the attributes, where the file does not declare it.
    Raises `LabelError` for a layer or column that is not there, `GridError` as `to_grid_crs` does.
    """
    check_columns(open_layer(path, encoding=encoding), [] if name is None else [name], encoding=encoding)
    frame = read_polygons(path, encoding=encoding)
    column = name or next((each for each in NAMES if each in frame), None)
    numbers = [str(number) for number in range(1, len(frame) + 1)]
    names = frame[column].astype(object).where(frame[column].notna(), numbers).map(str) if column else numbers
    if crs is not None and CRS.from_user_input(crs) != frame.crs:
        longest = longest_m / DEGREE_M if frame.crs.is_geographic else longest_m
        frame = frame.set_geometry(_densified(frame.geometry.to_numpy(), longest), crs=frame.crs)
    moved = to_grid_crs(frame, crs, allow_datum_shift=allow_datum_shift)
    attributes = moved.drop(columns=["geometry", "region"], errors="ignore")
    attributes.insert(0, "region", list(names))
    return GeoDataFrame(attributes, geometry=moved.geometry.to_numpy(), crs=moved.crs)


def _densified(shapes: np.ndarray, longest: float) -> np.ndarray:
    """The shapes with points between the ends of long edges: the same to the bit in whichever direction an edge runs.

    `shapely.segmentize` counts from where an edge begins, so that neighbours would no longer share it.
    """
    parts, of_part = shapely.get_parts(shapes, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    is_edge = np.append(ring[1:] == ring[:-1], False)
    follows = np.append(points[1:], points[-1:], axis=0)
    pieces = np.where(is_edge, np.maximum(np.ceil(np.hypot(*(follows - points).T) / longest), 1), 1).astype(np.int64)
    owner = np.repeat(np.arange(len(points)), pieces)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    is_turned = (points[:, 0] > follows[:, 0]) | ((points[:, 0] == follows[:, 0]) & (points[:, 1] > follows[:, 1]))
    first, last = (np.where(is_turned[:, None], *pair) for pair in ((follows, points), (points, follows)))
    share = np.where(is_turned[owner], pieces[owner] - step, step) / pieces[owner]
    placed = first[owner] + (last - first)[owner] * share[:, None]
    placed[step == 0] = points[owner[step == 0]]
    whole = shapely.polygons(shapely.linearrings(placed, indices=ring[owner]), indices=of_ring)
    made: np.ndarray = shapely.multipolygons(whole, indices=of_part)
    return made
