"""Frames that are one, frames that are not, and pixels in metres."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from cropland.errors import GridError
from cropland.geo.area import pixel_edge_m, pixel_edges_m
from cropland.geo.grid import check_frames, usable_crs, user_crs
from cropland.geo.scene import open_scene

XIAN_ESRI = (
    'GEOGCS["GCS_Xian_1980",DATUM["D_Xian_1980",SPHEROID["Xian_1980",6378140.0,298.257]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)
CGCS2000_ESRI = (
    'GEOGCS["GCS_China_Geodetic_Coordinate_System_2000",DATUM["D_China_2000",'
    'SPHEROID["CGCS2000",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)


@pytest.mark.parametrize(
    ("one", "other"),
    [(4490, 4326), (4528, 32650), (CGCS2000_ESRI, 4326), (4610, 2364), (4258, 4326), (4269, 32614), (4214, 2437)],
)
def test_frames_that_may_be_mixed(one, other):
    check_frames(CRS(one), CRS(other), allow_datum_shift=False)
    check_frames(CRS(other), CRS(one), allow_datum_shift=False)


@pytest.mark.parametrize("frame", [4610, 2364, XIAN_ESRI, 4214, 2437])
@pytest.mark.parametrize("other", [4326, 32650, 4490])
def test_the_old_chinese_frames_are_refused_unless_the_error_is_accepted(frame, other):
    for pair in ((frame, other), (other, frame)):
        with pytest.raises(GridError, match=r"different frames.*100 m.*allow_datum_shift=True"):
            check_frames(*map(CRS, pair), allow_datum_shift=False)
        check_frames(*map(CRS, pair), allow_datum_shift=True)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ('ENGCRS["site",EDATUM["d"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]', "site"),
        ("EPSG:4978", r"WGS 84 \(EPSG:4978\)"),  # geocentric
        ("EPSG:5773", "EGM96 height"),
        ("IAU_2015:30100", r"Moon \(2015\)"),
    ],
)
def test_systems_that_nothing_joins_are_both_named(other, name):
    for allowed in (False, True):
        with pytest.raises(GridError, match=f"{name}.* and WGS 84 / UTM zone 50N .EPSG:32650. cannot be transformed"):
            check_frames(CRS(other), CRS(32650), allow_datum_shift=allowed)
    check_frames(CRS("EPSG:32650+5773"), CRS(4326), allow_datum_shift=False)


def test_pixels_of_a_geographic_grid_are_metres_on_the_ellipsoid():
    step = 1e-4
    along, down = pixel_edges_m(GeoBox((1, 1), Affine(step, 0, 116, 0, -step, 40), 4326))
    assert along == pytest.approx(8.5394, abs=1e-3)  # a degree of longitude at 40 N is 85 394 m on WGS 84
    assert down == pytest.approx(11.1035, abs=1e-3)


@pytest.mark.parametrize("turn", [0, 30, 135])
def test_rotation_does_not_change_the_size(turn):
    affine = Affine.translation(500_000, 4_000_000) @ Affine.rotation(turn) @ Affine.scale(2, -3)
    grid = GeoBox((20, 20), affine, 32650)
    assert pixel_edges_m(grid) == pytest.approx((2 / 0.9996, 3 / 0.9996), rel=1e-5)
    assert pixel_edge_m(grid) == pytest.approx(6**0.5 / 0.9996, rel=1e-5)


@pytest.mark.parametrize("crs", [32650, None])
def test_sheared_pixels_are_as_large_as_their_area(crs):
    affine = Affine.translation(500_000, 4_000_000) @ Affine.shear(60, 0) @ Affine.scale(2, 3)
    grid, unit_m = GeoBox((20, 20), affine, crs), None if crs else 1 / 0.9996
    assert pixel_edges_m(grid, unit_m=unit_m) == pytest.approx((2 / 0.9996, 6 / 0.9996), rel=1e-5)
    assert pixel_edge_m(grid, unit_m=unit_m) == pytest.approx(6**0.5 / 0.9996, rel=1e-5)


def test_feet_are_made_metres():
    edges = pixel_edges_m(GeoBox((1, 1), Affine(1, 0, 1_000_000, 0, -1, 200_000), 2263))
    assert edges == pytest.approx((0.3048, 0.3048), rel=2e-4)


def test_web_mercator_is_corrected_for_latitude():
    along, _ = pixel_edges_m(GeoBox((1, 1), Affine(10, 0, 0, 0, -10, 8_399_737.9), 3857))
    assert along == pytest.approx(10 * Geod(ellps="WGS84").line_length([0, 1], [60, 60]) / 111_319.49, rel=1e-3)


def test_a_grid_outside_of_its_system():
    with pytest.raises(GridError, match="lies outside of"):
        pixel_edges_m(GeoBox((1, 1), Affine(10, 0, 1e12, 0, -10, 1e12), 32650))


def test_local_systems_are_none_and_heights_are_left():
    assert usable_crs(CRS.from_wkt('LOCAL_CS["drawing",UNIT["metre",1]]').to_wkt()) is None
    assert usable_crs(CRS("EPSG:32650+5773").to_wkt()).to_epsg() == 32650


def test_a_crs_that_is_not_known():
    with pytest.raises(GridError, match=r"crs='EPSG:1' is not known; write it as EPSG:32650"):
        user_crs("EPSG:1")


RGB = ("red", "green", "blue")


def test_no_grid(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None, transform=Affine.identity())
    for crs in (None, "EPSG:4326"):
        with pytest.raises(GridError, match=r"scene.tif has no grid.*pixel_m="):
            open_scene(path, crs=crs)
    scene = open_scene(path, pixel_m=0.5)
    assert scene.grid.crs is None and scene.pixel_m == 0.5 and scene.unit_m == 0.5
    assert scene.grid.affine == Affine.scale(1, -1), "as QGIS draws a picture without a world file"
    assert "mapped in pixel space" in scene.notes[0]


def test_a_grid_without_a_crs(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None)
    with pytest.raises(GridError, match=r"scene.tif has no coordinate reference system; give crs="):
        open_scene(path)
    assert open_scene(path, crs="EPSG:32650").pixel_m == pytest.approx(10 / 0.9996, rel=1e-4)
    assert open_scene(path, pixel_m=5).unit_m == 0.5


def test_a_pixel_size_that_is_none(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None)
    with pytest.raises(GridError, match="pixel_m=-1 is not a size"):
        open_scene(path, pixel_m=-1)


def test_a_scene_with_a_grid_keeps_its_pixel_size_and_says_so(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB), pixel_m=3)
    assert scene.pixel_m == pytest.approx(10, rel=1e-3) and "--pixel-m 3" in scene.notes[0]


def test_rpcs_without_a_grid(write, picture):
    numbers = [0.0] * 20
    rpcs = RPC(0, 1, 30.5, 1, numbers, numbers, 20, 20, 114.3, 1, numbers, numbers, 30, 30)
    path = write("raw.tif", picture, names=RGB, crs=None, transform=Affine.identity(), rpcs=rpcs)
    with pytest.raises(GridError, match=r"gdalwarp -rpc -t_srs EPSG:32650 .*raw.tif .*raw_map.tif"):
        open_scene(path)


def test_control_points_without_a_grid(write, picture):
    points = [GroundControlPoint(row, col, 500 + col, 900 - row) for row, col in ((0, 0), (0, 60), (40, 0))]
    path = write("raw.tif", picture, names=RGB, transform=None, gcps=points, crs="EPSG:32650")
    with pytest.raises(GridError, match=r"ground control points.*gdalwarp -t_srs EPSG:32650 "):
        open_scene(path)


def test_a_rotated_grid(write, picture):
    turned = Affine.translation(500_000, 4_000_000) @ Affine.rotation(25) @ Affine.scale(4, -4)
    scene = open_scene(write("scene.tif", picture, names=RGB, transform=turned))
    assert scene.pixel_m == pytest.approx(4 / 0.9996, rel=1e-4)
    corner = scene.working_grid(2).affine @ (1, 1)
    assert corner == pytest.approx(turned @ (2, 2))


def test_files_on_different_grids(write, picture):
    paths = [write("a_red.tif", picture[:1]), write("a_nir.tif", picture[:1, :20, :30])]
    with pytest.raises(GridError, match=r"a_nir.tif \(30 x 20.*not on the grid of a_red.tif \(60 x 40.*gdalbuildvrt"):
        open_scene(paths)


def test_another_frame_in_place_of_the_files_own(write, picture):
    path = write("scene.tif", picture, names=RGB, crs="EPSG:2364", transform=Affine(1, 0, 40_500_000, 0, -1, 4_000_000))
    with pytest.raises(GridError, match="allow_datum_shift=True"):
        open_scene(path, crs="EPSG:4528")
    scene = open_scene(path, crs="EPSG:4528", allow_datum_shift=True)
    assert scene.grid.crs.epsg == 4528 and "in place of the file's own" in scene.notes[0]


def test_the_grid_of_a_geographic_scene(write):
    values = np.full((3, 10, 10), 90, np.uint8)
    scene = open_scene(
        write("scene.tif", values, names=RGB, crs="EPSG:4490", transform=Affine(1e-4, 0, 116, 0, -1e-4, 40))
    )
    assert scene.pixel_m == pytest.approx((8.5394 * 11.1035) ** 0.5, rel=1e-4)
