"""Grids, the lack of them, and what the message says to do."""

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from cropland.errors import GridError
from cropland.geo.scene import open_scene

RGB = ("red", "green", "blue")


def test_no_grid(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None, transform=Affine.identity())
    for crs in (None, "EPSG:4326"):
        with pytest.raises(GridError, match=r"scene.tif has no grid.*--pixel-m"):
            open_scene(path, crs=crs)
    scene = open_scene(path, pixel_m=0.5)
    assert scene.grid.crs is None and scene.pixel_m == 0.5 and scene.unit_m == 0.5
    assert scene.grid.affine == Affine.scale(1, -1), "as QGIS draws a picture without a world file"
    assert "mapped in pixel space" in scene.notes[0]


def test_a_grid_without_a_crs(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None)
    with pytest.raises(GridError, match=r"scene.tif has no coordinate reference system; give --crs"):
        open_scene(path)
    assert open_scene(path, crs="EPSG:32650").pixel_m == pytest.approx(10 / 0.9996, rel=1e-4)
    assert open_scene(path, pixel_m=5).unit_m == 0.5


def test_a_pixel_size_that_is_none(write, picture):
    path = write("scene.tif", picture, names=RGB, crs=None)
    with pytest.raises(GridError, match="--pixel-m -1 is not a size"):
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
    with pytest.raises(GridError, match="--shift"):
        open_scene(path, crs="EPSG:4528")
    scene = open_scene(path, crs="EPSG:4528", shift=True)
    assert scene.grid.crs.epsg == 4528 and "in place of the file's own" in scene.notes[0]


def test_the_grid_of_a_geographic_scene(write):
    values = np.full((3, 10, 10), 90, np.uint8)
    scene = open_scene(
        write("scene.tif", values, names=RGB, crs="EPSG:4490", transform=Affine(1e-4, 0, 116, 0, -1e-4, 40))
    )
    assert scene.pixel_m == pytest.approx((8.5394 * 11.1035) ** 0.5, rel=1e-4)
