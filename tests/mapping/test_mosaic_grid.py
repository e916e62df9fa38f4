"""The grid of a mosaic: it continues the finest map that has its CRS."""

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from cropland.errors import GridError
from cropland.geo.window import Window
from cropland.mapping.mosaic_grid import Place, choose_crs, mosaic_grid, place_in

UTM = "EPSG:32650"


def grid(shape, *, x=500_000.0, y=4_000_000.0, pixel=10.0, crs=UTM, affine=None):
    return GeoBox(shape, affine or Affine(pixel, 0, x, 0, -pixel, y), crs)


def test_neighbours_on_the_same_lines_are_copied():
    west, east = grid((40, 60)), grid((30, 50), x=500_600, y=4_000_100)
    mosaic = mosaic_grid([west, east], CRS(UTM))
    assert mosaic.shape == (50, 110) and mosaic.affine == Affine(10, 0, 500_000, 0, -10, 4_000_100)
    assert place_in(mosaic, west) == Place(Window(10, 0, 40, 60), is_copied=True)
    assert place_in(mosaic, east) == Place(Window(0, 60, 30, 50), is_copied=True)


@pytest.mark.parametrize("other", [grid((9, 9), x=500_004), grid((9, 9), pixel=10.5), grid((9, 9), crs="EPSG:32651")])
def test_others_are_warped(other):
    first = grid((40, 60))
    mosaic = mosaic_grid([first, other], CRS(UTM))
    assert place_in(mosaic, first).is_copied and not place_in(mosaic, other).is_copied


def test_the_finest_decides_the_pixel():
    coarse, fine = grid((40, 60)), grid((100, 100), x=500_003, pixel=2.0)
    mosaic = mosaic_grid([coarse, fine], CRS(UTM))
    assert place_in(mosaic, fine).is_copied and mosaic.affine.a == 2
    east, beyond = grid((40, 60), x=770_000), grid((100, 100), x=230_000, pixel=2.0, crs="EPSG:32651")
    assert mosaic_grid([east, beyond], CRS(UTM)).affine.a == pytest.approx(2.0, rel=0.01)


def test_pixels_of_neighbouring_zones_are_one_size():
    """10 m are 9.99 m on the ground near the edge of a zone."""
    mosaic = mosaic_grid([grid((40, 60)), grid((40, 60), x=200_000, crs="EPSG:32651")], CRS(UTM))
    assert mosaic.affine.a == 10


def test_a_crs_that_no_map_has():
    """0.001 degrees at 36 degrees north are 100 m, the geometric mean of 90 m and 111 m."""
    mosaic = mosaic_grid([grid((40, 60), pixel=100.0)], CRS("EPSG:4326"))
    assert mosaic.affine.a == pytest.approx(0.001, rel=0.01) and mosaic.affine.e == -mosaic.affine.a
    place = place_in(mosaic, grid((40, 60), pixel=100.0))
    assert not place.is_copied and place.window == Window(0, 0, *mosaic.shape)


def test_a_rotated_map_is_within():
    turned = grid((40, 60), affine=Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(10, -10))
    mosaic = mosaic_grid([turned], CRS(UTM))
    inside, outside = mosaic.boundingbox, turned.boundingbox
    assert inside.left <= outside.left and inside.top >= outside.top and inside.right >= outside.right
    assert mosaic.affine.a == pytest.approx(10) and mosaic.affine.b == 0 and not place_in(mosaic, turned).is_copied


def test_most_decide_the_crs():
    grids = [grid((9, 9), crs=crs) for crs in ("EPSG:32651", UTM, UTM)]
    assert choose_crs(grids, "abc", crs=None, shift=False) == CRS(UTM)
    assert choose_crs(grids[:2], "ab", crs=None, shift=False) == CRS("EPSG:32651")
    assert choose_crs(grids, "abc", crs="EPSG:4490", shift=False) == CRS("EPSG:4490")  # CGCS2000 is WGS 84


def test_what_has_no_place_is_told():
    with pytest.raises(GridError, match="b has no CRS"):
        choose_crs([grid((9, 9)), grid((9, 9), crs=None)], "ab", crs=None, shift=False)
    xian = [grid((9, 9)), grid((9, 9), x=500_000, crs="EPSG:2383")]
    with pytest.raises(GridError, match="different frames"):
        choose_crs(xian, "ab", crs=None, shift=False)
    assert choose_crs(xian, "ab", crs=None, shift=True) == CRS(UTM)


def test_far_apart_there_is_no_mosaic():
    with pytest.raises(GridError, match="so far apart"):
        mosaic_grid([grid((100, 100)), grid((100, 100), x=600_000, y=3_000_000)], CRS(UTM))
    mosaic_grid([grid((100, 100)), grid((100, 100), x=507_000)], CRS(UTM))
