"""Areas and lengths against the geodesic ones of Karney (2013, doi:10.1007/s00190-012-0578-z), as PROJ has them."""

import numpy as np
import pytest
import shapely
from affine import Affine
from geopandas import GeoSeries
from odc.geo.geobox import GeoBox
from pyproj import Geod

from cropland.errors import GridError
from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m, pixel_area_m2
from cropland.geo.window import Window

WGS84 = Geod(ellps="WGS84")
DEGREES = GeoBox((300, 400), Affine(0.001, 0, 116, 0, -0.001, 40), "EPSG:4326")
UTM = GeoBox((300, 400), Affine(10, 0, 620_000, 0, -10, 4_400_000), "EPSG:32650")
TURNED = GeoBox((90, 90), Affine.translation(116, 40) @ Affine.rotation(33) @ Affine.scale(0.001), "EPSG:4326")


def geodesic_area(grid):
    """The area of a grid by its densely drawn outline."""
    ring = shapely.segmentize(shapely.box(0, 0, grid.shape[1], grid.shape[0]), 1).exterior.coords
    x, y = np.array([grid.affine @ tuple(point) for point in ring]).T
    points = GeoSeries(shapely.points(x, y), crs=grid.crs.proj).to_crs(4326)
    return abs(WGS84.polygon_area_perimeter(points.x, points.y)[0])


@pytest.mark.parametrize("grid", [DEGREES, UTM, TURNED])
def test_pixels_add_up_to_the_area_of_the_grid(grid):
    total = pixel_area_m2(grid, Window(0, 0, *grid.shape)).sum()
    assert total == pytest.approx(geodesic_area(grid), rel=2e-5)


def test_a_pixel_in_degrees():
    assert pixel_area_m2(DEGREES, Window(0, 0, 1, 1))[0, 0] == pytest.approx(85.394 * 111.035, rel=2e-4)


@pytest.mark.parametrize("grid", [DEGREES, UTM, TURNED])
def test_a_window_is_a_part_of_the_whole(grid):
    whole, window = pixel_area_m2(grid, Window(0, 0, *grid.shape)), Window(13, 27, 40, 21)
    np.testing.assert_array_equal(pixel_area_m2(grid, window), whole[window.slices])


def test_parcels_with_holes():
    hole = [(116.002, 40.002), (116.004, 40.002), (116.004, 40.004)]
    field = shapely.Polygon([(116, 40), (116.01, 40), (116.01, 40.02), (116, 40.02)], [hole])
    degrees = GeoSeries([field, shapely.box(116, 40, 116.0001, 40.0001)], crs=4326)
    area = [WGS84.geometry_area_perimeter(shapely.orient_polygons(shape))[0] for shape in degrees]
    length = [sum(WGS84.geometry_length(ring) for ring in shapely.get_rings(shape)) for shape in degrees]
    for shapes in (degrees, degrees.to_crs(32650), degrees.to_crs(4490)):
        np.testing.assert_allclose(ellipsoidal_area_m2(shapes), area, rtol=2e-6)
        np.testing.assert_allclose(ellipsoidal_length_m(shapes), length, rtol=2e-6)


def test_large_shapes_have_the_straight_edges_of_their_own_system():
    box = GeoSeries([shapely.box(110, 35, 112, 37)], crs=4326)
    exact = GeoSeries([shapely.segmentize(box[0], 0.001)], crs=4326)
    assert ellipsoidal_area_m2(box)[0] == pytest.approx(abs(WGS84.geometry_area_perimeter(exact[0])[0]), rel=1e-6)


def test_lines_and_several_parts():
    lines = GeoSeries([shapely.MultiLineString([[(116, 40), (116, 41)], [(117, 40), (117, 41)]])], crs=4326)
    assert ellipsoidal_length_m(lines)[0] == pytest.approx(2 * WGS84.line_length([116, 116], [40, 41]))


def test_without_a_crs_metres_per_unit_are_needed():
    shapes = GeoSeries([shapely.box(0, 0, 10, 20)])
    grid = GeoBox((4, 5), Affine.scale(1, -1), None)
    assert ellipsoidal_area_m2(shapes, unit_m=0.5)[0] == 50 and ellipsoidal_length_m(shapes, unit_m=0.5)[0] == 30
    assert (pixel_area_m2(grid, Window(0, 0, 4, 5), unit_m=2) == 4).all()
    for call in (lambda: ellipsoidal_area_m2(shapes), lambda: pixel_area_m2(grid, Window(0, 0, 4, 5))):
        with pytest.raises(GridError, match="areas are not known"):
            call()
