"""Polygons that fill a square without gaps, as villages or as parcels, for tests of what cuts and checks them."""

import geopandas as gpd
import numpy as np
import shapely

WEST, SOUTH, EDGE = 500_000.0, 4_000_000.0, 2_000.0
CRS = 32650


def square(west: float, south: float, east: float, north: float) -> shapely.Polygon:
    """A rectangle, in metres from the corner of the square."""
    return shapely.box(WEST + west, SOUTH + south, WEST + east, SOUTH + north)


def cells(count: int, *, seed: int) -> np.ndarray:
    """Cells around random points, which share their edges to the last bit."""
    points = np.array([WEST, SOUTH]) + np.random.default_rng(seed).uniform(0, EDGE, (count, 2))
    whole = square(0, 0, EDGE, EDGE)
    found = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(points), extend_to=whole))
    cut: np.ndarray = shapely.intersection(found, whole)
    return cut[shapely.area(cut) > 0]


def series(shapes: object, crs: int = CRS) -> gpd.GeoSeries:
    return gpd.GeoSeries(shapes, crs=crs)
