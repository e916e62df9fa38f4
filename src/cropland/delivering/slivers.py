"""Pieces that are too small or too thin are united with a neighbour of the same region."""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import NamedTuple

import numpy as np
import shapely
from geopandas import GeoSeries
from jaxtyping import Int64

from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m
from cropland.geo.vectors import united

__all__ = ["Merge", "merged"]


class Merge(NamedTuple):
    """shapes: what is left, in the order of what came. kept: the number of each among what came, the one that took the
    others in. alone: the numbers, among these, of slivers without a neighbour."""

    shapes: np.ndarray
    kept: Int64[np.ndarray, " shape"]
    alone: Int64[np.ndarray, " number"]


def merged(shapes: GeoSeries, region: np.ndarray, *, min_area_m2: float, min_width_m: float) -> Merge:
    """Unite each sliver with the neighbour of its region with which it shares the longest edge.

    A sliver is smaller than min_area_m2, or thinner than min_width_m: its mean width, 2 x area / perimeter, which is
    the width of a long strip and half the edge of a square. The smallest goes first; of two edges of one length, that
    with the larger neighbour counts. What is still a sliver then is united again. So nothing depends on the order of
    the shapes, and no ground is gained or lost. A shared corner is no shared edge.
    """
    polygons = shapes.to_numpy()
    area, perimeter = ellipsoidal_area_m2(shapes), ellipsoidal_length_m(shapes)
    bounds = shapely.bounds(polygons)
    # Whatever is equal is told apart by its place, never by its number.
    rank = np.empty(len(polygons), np.int64)
    rank[np.lexsort((*bounds.T, area))] = np.arange(len(polygons))

    def is_sliver(number: int) -> bool:
        return bool(area[number] < min_area_m2 or 2 * area[number] < min_width_m * perimeter[number])

    small = np.flatnonzero((area < min_area_m2) | (2 * area < min_width_m * perimeter))
    shared = _shared_edges(shapes, region, small)
    into = np.arange(len(polygons))
    heap = [(float(area[number]), int(rank[number]), number) for number in small.tolist()]
    heapq.heapify(heap)
    while heap:
        size, _, number = heapq.heappop(heap)
        if into[number] != number or size != area[number] or not shared[number]:
            continue
        taker = max(shared[number], key=lambda other: (shared[number][other], area[other], rank[other]))
        length = shared[number].pop(taker)
        del shared[taker][number]
        was_small = is_sliver(taker)
        into[number] = taker
        area[taker] += area[number]
        perimeter[taker] += perimeter[number] - 2 * length
        for other, more in shared.pop(number).items():
            del shared[other][number]
            shared[taker][other] = shared[other][taker] = shared[taker].get(other, 0.0) + more
        if was_small and is_sliver(taker):
            heapq.heappush(heap, (float(area[taker]), int(rank[taker]), taker))
    return _collected(polygons, _roots(into), small, rank)


def _shared_edges(shapes: GeoSeries, region: np.ndarray, small: np.ndarray) -> defaultdict[int, dict[int, float]]:
    """For each sliver the length in metres of the edge that it shares with each neighbour of its region, both ways."""
    polygons = shapes.to_numpy()
    one, other = shapely.STRtree(polygons).query(polygons[small], predicate="intersects")
    one = small[one]
    is_small = np.zeros(len(polygons), bool)
    is_small[small] = True
    kept = (region[one] == region[other]) & np.where(is_small[other], one < other, one != other)
    one, other = one[kept], other[kept]
    edges = shapely.intersection(shapely.boundary(polygons[one]), shapely.boundary(polygons[other]))
    is_line = shapely.length(edges) > 0
    found: defaultdict[int, dict[int, float]] = defaultdict(dict)
    lengths = ellipsoidal_length_m(GeoSeries(edges[is_line], crs=shapes.crs)) if is_line.any() else ()
    for first, second, length in zip(one[is_line].tolist(), other[is_line].tolist(), lengths, strict=True):
        found[first][second] = found[second][first] = float(length)
    return found


def _roots(into: np.ndarray) -> np.ndarray:
    """Where each ends up at last."""
    while ((further := into[into]) != into).any():
        into = further
    return into


def _collected(polygons: np.ndarray, root: np.ndarray, small: np.ndarray, rank: np.ndarray) -> Merge:
    kept, of = np.unique(root, return_inverse=True)
    counts = np.bincount(of)
    shapes, many = polygons[kept].copy(), np.flatnonzero(counts > 1)
    if len(many):
        members = np.flatnonzero(counts[of] > 1)
        members = members[np.lexsort((rank[members], of[members]))]  # a union may depend on the order in the last bits
        shapes[many] = united(polygons[members], np.unique(of[members], return_inverse=True)[1])
    alone = np.flatnonzero((counts == 1) & np.isin(kept, small))
    return Merge(shapes, kept, alone)
