"""No data from a value, an alpha band, a mask band, NaN, or what the user says."""

import numpy as np
import pytest
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from scipy import ndimage

from cropland.errors import SceneError
from cropland.geo.scene import open_scene
from cropland.geo.window import Window, tiles
from rasters import write_raster

RGB = ("red", "green", "blue")


def valid(scene, bands=RGB):
    window = Window(0, 0, *scene.shape)
    image = scene.read(window, bands=bands)
    np.testing.assert_array_equal(image.valid, scene.read_valid(window))
    assert (image.values[:, ~image.valid] == 0).all()
    return image.valid


@pytest.fixture
def gap() -> np.ndarray:
    gap = np.zeros((40, 60), bool)
    gap[5:12, 20:50] = True
    return gap


def test_a_scene_without_gaps_says_so(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    assert not scene.has_no_data and valid(scene).all()


@pytest.mark.parametrize("value", [0, 255])
def test_zero_and_white_are_no_data_only_in_every_band(write, picture, gap, value):
    picture[:, gap] = value
    picture[0, 30:, :] = value  # a measurement: deep water, a bright roof
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=value))
    assert scene.has_no_data
    np.testing.assert_array_equal(valid(scene), ~gap)


def test_an_impossible_value_is_no_data_in_any_band(write, picture, gap):
    values = picture.astype(np.int16)
    values[1, gap] = -9999
    np.testing.assert_array_equal(valid(open_scene(write("scene.tif", values, names=RGB, nodata=-9999))), ~gap)


def test_nan_is_no_data_without_saying(write, picture, gap):
    values = picture.astype(np.float32)
    values[1, gap] = np.nan
    np.testing.assert_array_equal(valid(open_scene(write("scene.tif", values, names=RGB))), ~gap)


def test_alpha(write, picture, gap):
    values = np.concatenate([picture, np.where(gap, 0, 255).astype(np.uint8)[None]])
    scene = open_scene(write("scene.tif", values, photometric="RGB", alpha="YES"))
    assert scene.bands == RGB
    np.testing.assert_array_equal(valid(scene), ~gap)


@pytest.mark.parametrize("nodata", [0, 255, 17])
def test_alpha_and_a_value_both_count_and_it_is_said(write, picture, gap, nodata):
    filled = np.zeros_like(gap)
    filled[30:35] = True
    values = np.concatenate([np.where(filled, nodata, picture), np.where(gap, 0, 255)[None]]).astype(np.uint8)
    scene = open_scene(write("scene.tif", values, photometric="RGB", alpha="YES", nodata=nodata))
    assert scene.notes == (f"No data is where the alpha band is 0 and where the value is {nodata}.",)
    np.testing.assert_array_equal(valid(scene)[:20], ~gap[:20])
    assert not valid(scene)[filled].any()


@pytest.mark.parametrize(
    "how", [{"sensor": "naip"}, {"bands": "red=1,green=2,blue=3,nir=4"}, {"bands": (*RGB, "alpha")}]
)
def test_alpha_counts_whatever_it_is_called(write, picture, gap, how):
    values = np.concatenate([picture, np.where(gap, 0, 255).astype(np.uint8)[None]])
    np.testing.assert_array_equal(
        valid(open_scene(write("scene.tif", values, photometric="RGB", alpha="YES"), **how)), ~gap
    )


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint8, 1), (np.uint16, 65535), (np.float32, 1)])
def test_alpha_of_any_type_and_with_a_soft_edge(write, dtype, most):
    """In a file of several windows: most of it is opaque, an edge of 50 pixels fades out."""
    column = np.clip((np.arange(1200) - 300) / 50, 0, 1)
    alpha = np.broadcast_to((most * column).astype(dtype), (900, 1200))
    red = np.random.default_rng(0).integers(1, 200, (900, 1200)).astype(dtype)
    colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    scene = open_scene(write("scene.tif", np.stack([red, red, red, alpha]), colors=colors))
    assert scene.bands == RGB and not scene.notes
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, 900, 1200)), alpha > 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("how", "name"), [({}, "band_4"), ({"sensor": "naip"}, "nir"), ({"bands": "red=1,green=2,blue=3,nir=4"}, "nir")]
)
def test_near_infrared_that_is_called_alpha_is_a_band(write, dtype, how, name):
    values = np.random.default_rng(0).integers(1, 200, (4, 700, 500)).astype(dtype)
    values[3, 100:400, 200:] = 0  # water
    colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    path = write("scene.tif", values, colors=colors)
    scene = open_scene(path, **how)
    assert scene.bands == (*RGB, name)
    assert "Band 4 of scene.tif is marked as alpha but holds measurements, so it is read as a band." in scene.notes
    image = scene.read(bands=[name])
    assert image.valid.all()
    np.testing.assert_array_equal(image.values, values[3:])


def test_a_mask_band(write, picture, gap):
    np.testing.assert_array_equal(valid(open_scene(write("scene.tif", picture, names=RGB, mask=~gap))), ~gap)


def test_the_users_value_replaces_the_declared_one(write, picture, gap):
    picture[:, gap] = 17
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=picture[0, 0, 0]), nodata=17)
    assert valid(scene)[~gap].all()


def test_a_value_that_the_type_cannot_hold(write, picture):
    path = write("scene.tif", picture, names=RGB)
    with pytest.raises(SceneError, match=r"nodata=-9999 cannot occur in scene.tif, which holds uint8"):
        open_scene(path, nodata=-9999)


def test_all_no_data(write, picture):
    with pytest.raises(SceneError, match="scene is all no data"):
        open_scene(write("scene.tif", picture * 0, names=RGB, nodata=0))


def test_validity_is_the_same_whichever_bands_are_read(write, picture, gap):
    picture[:, gap] = 0
    picture[2, gap] = 40
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=0))
    assert valid(scene, ("red", "green")).all()


def test_resampling_counts_valid_pixels_alone(write, picture, gap):
    picture[:] = 100
    picture[:, gap] = 0
    image = open_scene(write("scene.tif", picture, names=RGB, nodata=0)).read(
        Window(0, 0, 16, 24), bands=RGB, ratio=2.5
    )
    assert set(np.unique(image.values)) == {0, 100} and not image.valid[3, 10] and image.valid[0, 0]


RGB_of_collar = ("red", "green", "blue")


def slanted(shape, value, dtype=np.uint8):
    """A picture turned within its frame, and where it is."""
    row, col = np.indices(shape)
    inside = (row + 0.3 * col > 0.2 * shape[0]) & (row - 0.2 * col < 0.8 * shape[0])
    values = np.random.default_rng(3).integers(40, 200, (3, *shape)).astype(dtype)
    return np.where(inside, values, dtype(value)), inside


@pytest.mark.parametrize(("value", "colour"), [(0, "black"), (255, "white")])
@pytest.mark.parametrize("shape", [(60, 90), (1500, 1300)])
def test_a_collar_is_found_to_the_pixel(write, value, colour, shape):
    values, inside = slanted(shape, value)
    scene = open_scene(write("scene.tif", values, names=RGB_of_collar))
    assert any(note.startswith(f"A {colour} collar") for note in scene.notes)
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, *shape)), inside)


def test_every_window_agrees(write):
    values, inside = slanted((700, 900), 0)
    scene = open_scene(write("scene.tif", values, names=RGB_of_collar, tiled=True))
    for tile in tiles(scene.shape, size=130, halo=17, stride=1):
        image = scene.read(tile.padded, bands=RGB_of_collar)
        np.testing.assert_array_equal(image.valid, inside[tile.padded.slices])


def test_dark_pixels_far_from_the_collar_are_data(write):
    values, inside = slanted((60, 90), 0)
    values[:, 30:34, 40:44] = 0
    valid = open_scene(write("scene.tif", values, names=RGB_of_collar)).read_valid(Window(0, 0, 60, 90))
    assert valid[30:34, 40:44].all() and not valid[~inside].any()


def test_the_decimated_read_knows_it_too(write):
    values, inside = slanted((1500, 1300), 0)
    image = open_scene(write("scene.tif", values, names=RGB_of_collar)).read_decimated(
        bands=RGB_of_collar, max_pixels=20_000
    )
    assert image.valid.mean() == pytest.approx(inside.mean(), abs=0.01)


def test_a_collar_on_one_side_only(write):
    values, inside = slanted((300, 1400), 0)
    values[:], inside[:] = 90, True
    values[:, :, :60], inside[:, :60] = 0, False
    scene = open_scene(write("scene.tif", values, names=RGB_of_collar))
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, 300, 1400)), inside)


@pytest.mark.parametrize(("value", "sign"), [(0, 1), (255, -1)])
def test_water_and_clouds_that_saturate_softly_are_none(write, value, sign):
    deep = np.zeros((80, 80), bool)
    deep[:30, :30] = True
    away = np.minimum(ndimage.distance_transform_edt(~deep) * 4, 120)
    values = np.clip(value + sign * away, 0, 255).astype(np.uint8)[None].repeat(3, axis=0)
    assert not open_scene(write("scene.tif", values, names=RGB_of_collar)).has_no_data


def test_a_white_roof_at_the_border_is_none(write, picture):
    picture[:, :12, 20:34] = 255
    assert not open_scene(write("scene.tif", picture, names=RGB_of_collar)).has_no_data


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_zero_amid_smaller_and_larger_numbers_is_a_measurement(write, dtype):
    """Z-scores in hundredths, or reflectances with their noise: water of exactly 0 in a straight harbour."""
    values = (100 * np.random.default_rng(0).standard_normal((3, 300, 400))).astype(dtype)
    values[:, :90] = 0
    scene = open_scene(write("scene.tif", values, names=RGB_of_collar))
    assert scene.read_valid(Window(0, 0, 300, 400)).all() and not scene.notes


@pytest.mark.parametrize("size", [300, 1500])
@pytest.mark.parametrize("seed", range(4))
def test_dark_water_with_a_shore_is_data(write, size, seed):
    """A lake of exactly 0 that fills a part of the border, abruptly bright land, and dark pixels of 0 all over."""
    rng = np.random.default_rng(seed)
    ground = sum(ndimage.gaussian_filter(rng.standard_normal((300, 300)), 40 / k) / k**2 for k in (1, 2, 4, 8))
    ground = ndimage.zoom(ground, size / 300, order=1)
    water = ground < np.quantile(ground, 0.3)
    water |= rng.random((size, size)) < 0.03
    values = np.where(water, 0, rng.integers(40, 200, (3, size, size))).astype(np.uint8)
    assert np.percentile(values, 2) == 0
    assert not open_scene(write("scene.tif", values, names=RGB_of_collar)).has_no_data


def test_a_collar_beside_a_dark_picture_is_found(write):
    values, inside = slanted((900, 900), 0)
    values[:, np.random.default_rng(0).random(inside.shape) < 0.05] = 0
    valid = open_scene(write("scene.tif", values, names=RGB_of_collar)).read_valid(Window(0, 0, 900, 900))
    assert not valid[~inside].any() and valid[ndimage.binary_erosion(inside, iterations=6)].all()


def test_a_collar_and_a_lake_are_told_apart(write):
    values, inside = slanted((600, 800), 0)
    row, col = np.indices(inside.shape)
    lake = np.hypot(row - 330, col - 800) < 110 + 20 * np.sin(row / 9)
    values[:, lake] = 0
    valid = open_scene(write("scene.tif", values, names=RGB_of_collar)).read_valid(Window(0, 0, 600, 800))
    np.testing.assert_array_equal(valid, inside)


@pytest.mark.parametrize("angle", range(3, 90, 12))
def test_a_turned_picture(write, angle):
    turn = np.exp(1j * np.deg2rad(angle))
    row, col = np.indices((640, 640)) - 319.5
    at = (col + 1j * row) * turn
    inside = np.maximum(abs(at.real), abs(at.imag)) < 310 / (abs(turn.real) + abs(turn.imag))
    values = np.where(inside, np.random.default_rng(0).integers(1, 4000, (3, 640, 640)), 0).astype(np.uint16)
    valid = open_scene(write("scene.tif", values, names=RGB_of_collar)).read_valid(Window(0, 0, 640, 640))
    np.testing.assert_array_equal(valid, inside)


def test_the_least_number_of_a_type_is_a_collar(write):
    values, inside = slanted((300, 400), -32768, np.int16)
    scene = open_scene(write("scene.tif", np.where(inside, values - 100, values), names=RGB_of_collar))
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, 300, 400)), inside)


def test_what_is_declared_is_not_sought(write):
    values, _ = slanted((60, 90), 255)
    scene = open_scene(write("scene.tif", values, names=RGB_of_collar, nodata=0))
    assert scene.read_valid(Window(0, 0, 60, 90)).all()


def test_a_mask_of_zero_and_one_has_no_collar(write):
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[:, 20:40, 20:40] = 1
    assert not open_scene(write("mask.tif", mask), bands={"mask": 1}).has_no_data


def test_jpeg_noise_on_the_collar(write):
    values, inside = slanted((400, 400), 0)
    values = np.where(inside, ndimage.gaussian_filter(values, (0, 4, 4)), 0).astype(np.uint8)
    path = write("scene.tif", values, names=RGB_of_collar, compress="jpeg", tiled=True, jpeg_quality=75)
    valid = open_scene(path).read_valid(Window(0, 0, 400, 400))
    inner = ndimage.binary_erosion(inside, iterations=8, border_value=1)
    outer = ndimage.binary_erosion(~inside, iterations=9, border_value=1)
    assert valid[inner].all() and (~valid[outer]).mean() > 0.99


def test_pixels_that_are_not_on_the_earth_are_no_data(tmp_path):
    """A geostationary image of the disc of the Earth, with space around it."""
    disc, transform = (
        "+proj=geos +h=35785831 +lon_0=0 +datum=WGS84",
        from_origin(-5_500_000, 5_500_000, 110_000, 110_000),
    )
    values = np.full((100, 100), 7, np.uint8)
    scene = open_scene(write_raster(tmp_path / "disc.tif", values, crs=disc, transform=transform), bands={"red": 1})
    assert any("not on the Earth" in note for note in scene.notes)
    known = valid(scene, scene.bands)
    assert not known[0].any() and not known[:, 99].any() and known[50, 5:95].all()
    part = Window(3, 40, 20, 30)
    np.testing.assert_array_equal(scene.read_valid(part), known[part.slices])
    assert scene.read_decimated(bands=scene.bands, max_pixels=400).valid.mean() == pytest.approx(known.mean(), abs=0.1)
