"""Areas and lengths against the geodesic ones of Karney (2013, doi:10.1007/s00190-012-0578-z), as PROJ has them."""

import numpy as np
import pytest
import shapely
from affine import Affine
from geopandas import GeoSeries
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.database import query_crs_info
from pyproj.enums import PJType

from cropland.errors import GridError
from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m, pixel_area_m2, pixel_edge_m, pixel_edges_m
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
    assert total == pytest.approx(geodesic_area(grid), rel=1e-6)


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
        np.testing.assert_allclose(ellipsoidal_area_m2(shapes), area, rtol=1e-6)
        np.testing.assert_allclose(ellipsoidal_length_m(shapes), length, rtol=1e-6)


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


ODD = [3413, 3031, 2263, 27572, 4807, 4901, 2193, 3832, 5041, 6933, 3857, 2065, 2053, 29873, 31370, 3571, 4326]
KINDS = [PJType.PROJECTED_CRS, PJType.GEOGRAPHIC_2D_CRS]
CODES = sorted(int(info.code) for info in query_crs_info("EPSG", pj_types=KINDS) if info.area_of_use)
SAMPLE = np.random.default_rng(0).choice(CODES, 60, replace=False).tolist()
EARTH_M2 = 510_065_621_724_088  # of the ellipsoid of WGS 84
DISC = CRS("+proj=geos +h=35785831 +lon_0=0 +datum=WGS84")


def true_figures(crs, polygon):
    """Area and perimeter by geodesics between points of its straight edges, ever closer (Richardson)."""
    frame, earth = crs.geodetic_crs, crs.get_geod()
    degrees = np.degrees(frame.axis_info[0].unit_conversion_factor)
    to_frame = Transformer.from_crs(crs, frame, always_xy=True)

    def by(pieces):
        figures = np.zeros(2)
        for number, ring in enumerate(shapely.get_rings(polygon)):
            corners = shapely.get_coordinates(ring)
            steps = np.arange(pieces)[:, None] / pieces
            points = (corners[:-1, None] + steps * np.diff(corners, axis=0)[:, None]).reshape(-1, 2)
            area, length = earth.polygon_area_perimeter(*(np.multiply(to_frame.transform(*points.T), degrees)))
            figures += abs(area) * (-1 if number else 1), length
        return figures

    coarse, fine = by(32), by(64)
    return fine + (fine - coarse) / 3


def origin_and_metre(crs, random):
    """A place in the area of use, and the length of a metre in units of the CRS, or so."""
    west, south, east, north = crs.area_of_use.bounds
    where = random.uniform(west, east + 360 * (east < west)), np.clip(random.uniform(south, north), -85, 85)
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(*where)
    metre = 1 / crs.axis_info[0].unit_conversion_factor
    return x, y, metre / crs.get_geod().a if crs.is_geographic else metre


@pytest.mark.parametrize("code", dict.fromkeys(ODD + SAMPLE))
def test_figures_are_the_geodesic_ones_in_every_system(code):
    crs, random = CRS.from_epsg(code), np.random.default_rng(code)
    x, y, metre = origin_and_metre(crs, random)
    size = metre * 10 ** random.uniform(2.5, 4.5)
    turns = np.sort(random.uniform(0, 2 * np.pi, 7))
    ring = np.c_[np.cos(turns), np.sin(turns)] * random.uniform(0.5, 1, (7, 1))
    field = shapely.Polygon(ring).buffer(0)
    field = shapely.transform(shapely.Polygon(shapely.get_rings(field)[0]), lambda points: points * size + [x, y])
    area, length = true_figures(crs, field)
    assert ellipsoidal_area_m2(GeoSeries([field], crs=crs))[0] == pytest.approx(area, rel=1e-6, abs=0.1)
    assert ellipsoidal_length_m(GeoSeries([field], crs=crs))[0] == pytest.approx(length, rel=1e-6)
    for way in (-1, 1):  # north-up and south-up, turned and sheared
        affine = Affine.translation(x, y) @ Affine.rotation(20) @ Affine.shear(25, 0) @ Affine.scale(size / 40)
        grid = GeoBox((45, 37), affine @ Affine.scale(1, way), crs.to_wkt())
        outline = shapely.Polygon([grid.affine @ corner for corner in ((0, 0), (37, 0), (37, 45), (0, 45))])
        total = pixel_area_m2(grid, Window(0, 0, 45, 37)).sum()
        assert total == pytest.approx(true_figures(crs, outline)[0], rel=1e-6, abs=0.1)


@pytest.mark.parametrize("code", [3413, 3031, 5041])
def test_a_grid_with_a_pole_inside(code):
    affine = Affine(10, 0, -1503, 0, -10, 1497)
    if code == 5041:
        affine = Affine.translation(2e6, 2e6) @ affine
    grid, crs = GeoBox((300, 300), affine, code), CRS.from_epsg(code)
    square = shapely.box(*grid.boundingbox.bbox)
    area, length = true_figures(crs, square)
    assert pixel_area_m2(grid, Window(0, 0, 300, 300)).sum() == pytest.approx(area, rel=1e-6)
    assert ellipsoidal_area_m2(GeoSeries([square], crs=crs))[0] == pytest.approx(area, rel=1e-6)
    assert ellipsoidal_length_m(GeoSeries([square], crs=crs))[0] == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("west", [-180, 0])
@pytest.mark.parametrize("edge", [0.25, 1, 10])
def test_the_whole_world_in_degrees(west, edge):
    grid = GeoBox((round(180 / edge), round(360 / edge)), Affine(edge, 0, west, 0, -edge, 90), 4326)
    assert pixel_area_m2(grid, Window(0, 0, *grid.shape)).sum() == pytest.approx(EARTH_M2, rel=1e-6)
    world = GeoSeries([shapely.box(west, -90, west + 360, 90)], crs=4326)
    assert ellipsoidal_area_m2(world)[0] == pytest.approx(EARTH_M2, rel=1e-9)
    # Along the meridian of its edge from pole to pole and back; nothing along the poles.
    assert ellipsoidal_length_m(world)[0] == pytest.approx(2 * WGS84.line_length([0, 0], [-90, 90]), rel=1e-6)


def test_the_antimeridian_is_a_line_as_any_other():
    here, there = (GeoSeries([shapely.box(x, 40, x + 2, 41)], crs=4326) for x in (10, 179))
    for figure in (ellipsoidal_area_m2, ellipsoidal_length_m):
        assert figure(there)[0] == pytest.approx(figure(here)[0], rel=1e-12)


def test_gradians():
    """A hundred of them are 90 degrees: a pixel of 1e-4 at 50 gradians is 9e-5 degrees wide and high, at 45 degrees."""
    grads, degrees = (
        GeoBox((1, 1), Affine(e, 0, 0, 0, -e, n), crs) for e, n, crs in ((1e-4, 50, 4807), (9e-5, 45, 4275))
    )
    assert pixel_edges_m(grads) == pytest.approx(pixel_edges_m(degrees), rel=1e-6)
    assert pixel_edge_m(grads) == pytest.approx(pixel_edge_m(degrees), rel=1e-6)


def test_what_is_not_on_the_earth_has_no_area():
    grid = GeoBox((500, 500), Affine(22_000, 0, -5_500_000, 0, -22_000, 5_500_000), DISC.to_wkt())
    area = pixel_area_m2(grid, Window(0, 0, 500, 500))
    row, col = np.indices((501, 501))
    corners = Transformer.from_crs(DISC, DISC.geodetic_crs, always_xy=True).transform(*(grid.affine @ (col, row)))
    known = np.isfinite(corners[0])
    np.testing.assert_array_equal(area > 0, known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1])
    assert np.isfinite(area).all()
    with pytest.raises(GridError, match="lies outside of"):
        ellipsoidal_area_m2(GeoSeries([shapely.box(*grid.boundingbox.bbox)], crs=DISC))
    with pytest.raises(GridError, match="no known longitude"):
        pixel_edge_m(GeoBox((2, 2), Affine.scale(1000), CRS("ESRI:54076").to_wkt()))


def test_each_pixel_may_have_its_own_area():
    """In a cell that shares a mean they differ by 1e-4 here."""
    grid = GeoBox((40, 40), Affine(1e-3, 0, 116, 0, -1e-3, 60), "EPSG:4326")
    window = Window(3, 5, 30, 20)
    own, shared = (pixel_area_m2(grid, window, each=each) for each in (True, False))
    rows, cols = np.indices(window.shape)
    left, top = 116 + 1e-3 * (cols + 5), 60 - 1e-3 * (rows + 3)
    pixels = GeoSeries(shapely.box(left, top - 1e-3, left + 1e-3, top).ravel(), crs=4326)
    assert own.ravel() == pytest.approx(ellipsoidal_area_m2(pixels), rel=1e-8)
    assert abs(shared / own - 1).max() > 1e-5 and own.sum() == pytest.approx(shared.sum(), rel=1e-4)
