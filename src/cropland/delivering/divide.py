"""Parcels are cut along the borders of regions, so that neighbours still share their edges to the last bit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from geopandas import GeoSeries
from jaxtyping import Int64

from cropland.delivering.slivers import merged
from cropland.geo.vectors import united

__all__ = ["Division", "divided"]

CHUNK = 64  # points of a piece of a border: a long one is cut only where it meets parcels
THIN_M = 0.001  # mean width, 2 x area / perimeter: less is the rounding of coordinates and of files
NOWHERE = -1


class Division(NamedTuple):
    """pieces: the polygons, in the order of the parcels. parcel, region: the number of each, -1 for no region.
    doubtful: the numbers of the pieces that lie in several regions; they belong to the first of these."""

    pieces: np.ndarray
    parcel: Int64[np.ndarray, " piece"]
    region: Int64[np.ndarray, " piece"]
    doubtful: Int64[np.ndarray, " number"]


def divided(parcels: GeoSeries, regions: GeoSeries) -> Division:
    """Divide polygons by regions of the same CRS; nothing is lost, and what was one edge of two parcels still is.

    The outlines of all parcels that a border meets are crossed with it at once. If each parcel were crossed alone, its
    new corner would differ from that of its neighbour in the last bits, and the two would no longer touch. A strip
    thinner than a millimetre, between borders that are meant to be one, stays with its parcel.
    """
    shapes, areas = parcels.to_numpy(), regions.to_numpy()
    borders = _borders(areas)
    near, meets = shapely.STRtree(shapes).query(borders, predicate="intersects")
    crossed = np.unique(meets)
    lines = np.concatenate([shapely.boundary(shapes[crossed]), borders[np.unique(near)]])
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(shapely.union_all(lines))))
    owner, face = shapely.STRtree(shapely.point_on_surface(faces)).query(shapes[crossed], predicate="contains")
    face, owner, inner = _without_strips(GeoSeries(faces, crs=parcels.crs), face, owner)
    whole = np.delete(np.arange(len(shapes)), crossed[np.unique(owner)])  # with one that is too thin to have a face
    parts = np.concatenate([shapes[whole], inner])
    parcel = np.concatenate([whole, crossed[owner]])
    region, doubtful = _regions_of(shapely.point_on_surface(np.concatenate([shapes[whole], faces[face]])), areas)
    # The faces of a parcel and a region become one again, or several where they do not touch.
    order = np.lexsort((region, region == NOWHERE, parcel))
    parts, parcel, region, doubtful = parts[order], parcel[order], region[order], doubtful[order]
    first = np.append(True, (parcel[1:] != parcel[:-1]) | (region[1:] != region[:-1]))[: len(parts)]
    of, alone = np.cumsum(first) - 1, np.flatnonzero(first)
    pieces, again = shapely.get_parts(_united(parts, of), return_index=True)
    is_doubtful = (np.bincount(of, weights=doubtful, minlength=len(alone)) > 0)[again]
    parcel, region = parcel[alone][again], region[alone][again]
    west, south = shapely.bounds(pieces).T[:2]
    order = np.lexsort((south, west, region, region == NOWHERE, parcel))
    return Division(pieces[order], parcel[order], region[order], np.flatnonzero(is_doubtful[order]))


def _without_strips(faces: GeoSeries, face: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of parcels with the thin ones united with another of the same parcel: their numbers, owners and shapes.

    Of a face that is as thin as the last bits of its corners, nobody can say for sure in which of two parcels it lies.
    What has no neighbour in its parcel goes to one of another, unless it is all there is of the parcel.
    """
    shapes = faces.iloc[face]
    for is_same_parcel in (True, False):
        group = owner if is_same_parcel else np.where(np.bincount(owner)[owner] > 1, NOWHERE, owner)
        found = merged(shapes, group, min_area_m2=0.0, min_width_m=THIN_M)
        shapes = GeoSeries(found.shapes, crs=faces.crs)
        face, owner = face[found.kept], owner[found.kept]
    return face, owner, shapes.to_numpy()


def _borders(regions: np.ndarray) -> np.ndarray:
    """The outlines of regions as short lines; one that two regions share comes twice."""
    rings = shapely.get_rings(shapely.get_parts(regions))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    within = edge - np.searchsorted(ring, ring[edge])  # the number of the edge in its ring
    line = np.cumsum(within % CHUNK == 0) - 1
    ends = np.flatnonzero(np.append(line[1:] != line[:-1], True))
    # The points where the edges of a line begin, and the one where its last ends.
    number, of = np.concatenate([edge, edge[ends] + 1]), np.concatenate([line, line[ends]])
    order = np.argsort(of, kind="stable")
    lines: np.ndarray = shapely.linestrings(points[number[order]], indices=of[order])
    return lines


def _regions_of(places: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first region around each place, and whether there are several."""
    region, place = shapely.STRtree(places).query(regions, predicate="contains")
    found = np.full(len(places), len(regions))
    np.minimum.at(found, place, region)
    return np.where(found < len(regions), found, NOWHERE), np.bincount(place, minlength=len(places)) > 1


def _united(parts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """`united`, but for what is alone, which stays as it is."""
    counts = np.bincount(of)
    first = np.cumsum(counts) - counts
    whole: np.ndarray = parts[first]
    several = np.flatnonzero(counts > 1)
    if len(several):
        chosen = np.isin(of, several)
        whole[several] = united(parts[chosen], np.repeat(np.arange(len(several)), counts[several]))
    return whole
