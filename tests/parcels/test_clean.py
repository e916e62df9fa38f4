"""Specks vanish, holes are filled, no data stays, and the bytes do not depend on the strips."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.errors import GridError
from cropland.geo.area import default_min_area_m2, pixel_edge_m
from cropland.geo.grid import grid_of
from cropland.parcels.clean import by_threshold, by_value, clean_mask
from rasters import write_raster

PIXEL_M2 = 100.0
MASKS = st.tuples(st.integers(1, 24), st.integers(1, 17)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 1, 255]))
)


def clean(folder: Path, values: np.ndarray, *, pixels: float, block: int = 256) -> np.ndarray:
    source, out = write_raster(folder / "values.tif", values, nodata=255), folder / "mask.tif"
    least = (pixels - 0.5) * PIXEL_M2
    clean_mask(source, out, classify=by_value(1, nodata=255), min_area_m2=least, block=block)
    with rasterio.open(out) as mask:
        return mask.read(1)


def expected(values: np.ndarray, *, pixels: int) -> np.ndarray:
    """The rule, region by region."""
    result = values.copy()
    for member, structure, new in ((lambda v: v == 1, None, 0), (lambda v: v != 1, np.ones((3, 3)), 1)):
        if not (result == 1).any():
            break
        labels, count = ndimage.label(member(result), structure)
        for number in range(1, count + 1):
            region = labels == number
            if region.sum() < pixels:
                result[region & (values != 255)] = new
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clean")


@settings(max_examples=25, deadline=None)
@given(values=MASKS, pixels=st.integers(1, 12), block=st.integers(1, 9))
def test_the_rule_holds_for_any_strips(folder: Path, values: np.ndarray, pixels: int, block: int) -> None:
    np.testing.assert_array_equal(clean(folder, values, pixels=pixels, block=block), expected(values, pixels=pixels))


@settings(max_examples=8, deadline=None)
@given(values=MASKS, block=st.integers(1, 9))
def test_the_same_bytes_for_any_block_size(folder: Path, values: np.ndarray, block: int) -> None:
    clean(folder, values, pixels=5)
    whole = (folder / "mask.tif").read_bytes()
    clean(folder, values, pixels=5, block=block)
    assert (folder / "mask.tif").read_bytes() == whole


@settings(max_examples=8, deadline=None)
@given(values=MASKS, pixels=st.integers(1, 12))
def test_cleaning_twice_changes_nothing(folder: Path, values: np.ndarray, pixels: int) -> None:
    once = clean(folder, values, pixels=pixels)
    np.testing.assert_array_equal(clean(folder, once, pixels=pixels), once)


def test_a_speck_in_strips_of_one_row_is_counted_once(folder: Path) -> None:
    assert not clean(folder, np.array([[0, 1], [0, 1]], np.uint8), pixels=3, block=1).any()


def test_a_track_across_the_whole_raster_is_beside_what_it_parts(folder: Path) -> None:
    """Rows of one run have no neighbour in their row."""
    values = np.array([[0], [0], [1], [0], [1], [1], [1], [1]], np.uint8)
    np.testing.assert_array_equal(clean(folder, values, pixels=3), expected(values, pixels=3))


def test_a_diagonal_track_is_one_region_and_stays(folder: Path) -> None:
    values = 1 - np.eye(12, dtype=np.uint8)
    np.testing.assert_array_equal(clean(folder, values, pixels=6), values)


def test_slivers_beside_no_data_are_left(folder: Path) -> None:
    values = np.ones((12, 12), np.uint8)
    values[3:6, 3:6], values[4, 6] = 255, 0
    np.testing.assert_array_equal(clean(folder, values, pixels=9), values)


def test_a_threshold_is_the_least_probability_of_cropland(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    clean_mask(
        write_raster(tmp_path / "p.tif", levels, nodata=255),
        tmp_path / "m.tif",
        classify=by_threshold(127 / 254),
        min_area_m2=0,
    )
    with rasterio.open(tmp_path / "m.tif") as mask:
        assert mask.read(1).ravel().tolist() == [0] * 127 + [1] * 128 + [255]


def test_the_mask_is_a_cog_with_colours(tmp_path: Path) -> None:
    values = np.zeros((700, 1100), np.uint8)
    values[100:400, 100:400] = 1
    clean(tmp_path, values, pixels=5)
    with rasterio.open(tmp_path / "mask.tif") as mask:
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert mask.overviews(1) and mask.nodata == 255
        assert mask.colormap(1)[1] == (84, 140, 47, 255)
        assert set(np.unique(mask.read(1, out_shape=(88, 138)))) == {0, 1}


def test_areas_are_on_the_ellipsoid(tmp_path: Path) -> None:
    """A pixel of a thousandth of a degree is half as large at 60 degrees north."""
    values = np.zeros((20, 20), np.uint8)
    values[5:10, 5:10] = 1
    for north, is_kept in ((0.0, True), (60.0, False)):
        write_raster(tmp_path / "m.tif", values, crs="EPSG:4326", transform=from_origin(8, north, 1e-3, 1e-3))
        clean_mask(tmp_path / "m.tif", tmp_path / "o.tif", classify=by_value(1, nodata=None), min_area_m2=25 * 9_000)
        with rasterio.open(tmp_path / "o.tif") as mask:
            assert bool(mask.read(1).any()) is is_kept


def test_each_run_has_the_area_of_its_own_place(tmp_path: Path) -> None:
    """Pixels of an equal-area projection are of one size, those of a stereographic one shrink away from the pole."""
    values = np.zeros((8, 4000), np.uint8)
    values[2:4, 10:12] = values[2:4, 3980:3982] = 1
    kept = {}
    for crs, north in (("EPSG:3571", -1.5e6), ("EPSG:3413", -1.5e6)):
        write_raster(tmp_path / "m.tif", values, crs=crs, transform=from_origin(-500_000, north, 1000, 1000))
        options = {"classify": by_value(1, nodata=None), "min_area_m2": 4 * 0.99e6}
        clean_mask(tmp_path / "m.tif", tmp_path / "o.tif", **options)
        with rasterio.open(tmp_path / "o.tif") as mask:
            kept[crs] = mask.read(1).sum(axis=0)[[10, 3980]].tolist()
    assert kept == {"EPSG:3571": [2, 2], "EPSG:3413": [2, 0]}


def test_ten_pixels_are_enough_wherever_they_lie(tmp_path: Path) -> None:
    """Across 80 km of a UTM zone pixels differ by 2e-4 in area."""
    values = np.zeros((8, 8000), np.uint8)
    for col in range(0, 8000, 500):
        values[2:4, col + 2 : col + 7] = 1
    source, out = (
        write_raster(tmp_path / "values.tif", values, transform=from_origin(500_000, 5e6, 10, 10)),
        tmp_path / "m.tif",
    )
    with rasterio.open(source) as file:
        least = default_min_area_m2(pixel_edge_m(grid_of(file)))
    clean_mask(source, out, classify=by_value(1, nodata=255), min_area_m2=least)
    with rasterio.open(out) as mask:
        np.testing.assert_array_equal(mask.read(1), values)


def test_what_is_not_on_the_earth_is_no_data(tmp_path: Path) -> None:
    disc = "+proj=geos +h=35785831 +lon_0=0 +datum=WGS84"
    transform = from_origin(-5_500_000, 5_500_000, 110_000, 110_000)
    for least in (0, 1):
        source = write_raster(tmp_path / "m.tif", np.ones((100, 100), np.uint8), crs=disc, transform=transform)
        clean_mask(source, tmp_path / "o.tif", classify=by_value(1, nodata=None), min_area_m2=least)
        with rasterio.open(tmp_path / "o.tif") as mask:
            values = mask.read(1)
        assert values[0, 0] == values[99, 50] == 255 and values[50, 50] == values[50, 95] == 1
        assert (values == 1).mean() == pytest.approx(np.pi / 4 * (5.43 / 5.5) ** 2, rel=0.04)


def test_without_crs_the_unit_is_needed(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "m.tif", np.ones((4, 4), np.uint8), crs=None, nodata=255)
    with pytest.raises(GridError, match="pixel_m="):
        clean_mask(source, tmp_path / "o.tif", classify=by_value(1, nodata=255), min_area_m2=1)
    assert [path.name for path in tmp_path.iterdir()] == ["m.tif"]


def test_the_least_area_is_400_m2_or_ten_pixels() -> None:
    assert default_min_area_m2(1.0) == 400
    assert default_min_area_m2(10.0) == 1000
