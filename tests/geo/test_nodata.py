"""No data from a value, an alpha band, a mask band, NaN, or what the user says."""

import numpy as np
import pytest

from cropland.errors import SceneError
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window

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


def test_a_mask_band(write, picture, gap):
    np.testing.assert_array_equal(valid(open_scene(write("scene.tif", picture, names=RGB, mask=~gap))), ~gap)


def test_the_users_value_replaces_the_declared_one(write, picture, gap):
    picture[:, gap] = 17
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=picture[0, 0, 0]), nodata=17)
    assert valid(scene)[~gap].all()


def test_a_value_that_the_type_cannot_hold(write, picture):
    path = write("scene.tif", picture, names=RGB)
    with pytest.raises(SceneError, match=r"--nodata -9999 cannot occur in scene.tif, which holds uint8"):
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
