"""An undeclared collar is found, said, and the same in every window; water and clouds are none."""

import numpy as np
import pytest
from scipy import ndimage

from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window, tiles

RGB = ("red", "green", "blue")


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
    scene = open_scene(write("scene.tif", values, names=RGB))
    assert any(note.startswith(f"A {colour} collar") for note in scene.notes)
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, *shape)), inside)


def test_every_window_agrees(write):
    values, inside = slanted((700, 900), 0)
    scene = open_scene(write("scene.tif", values, names=RGB, tiled=True))
    for tile in tiles(scene.shape, size=130, halo=17, stride=1):
        image = scene.read(tile.padded, bands=RGB)
        np.testing.assert_array_equal(image.valid, inside[tile.padded.slices])


def test_dark_pixels_far_from_the_collar_are_data(write):
    values, inside = slanted((60, 90), 0)
    values[:, 30:34, 40:44] = 0
    valid = open_scene(write("scene.tif", values, names=RGB)).read_valid(Window(0, 0, 60, 90))
    assert valid[30:34, 40:44].all() and not valid[~inside].any()


def test_the_decimated_read_knows_it_too(write):
    values, inside = slanted((1500, 1300), 0)
    image = open_scene(write("scene.tif", values, names=RGB)).read_decimated(bands=RGB, max_pixels=20_000)
    assert image.valid.mean() == pytest.approx(inside.mean(), abs=0.01)


def test_a_collar_on_one_side_only(write):
    values, inside = slanted((300, 1400), 0)
    values[:], inside[:] = 90, True
    values[:, :, :60], inside[:, :60] = 0, False
    scene = open_scene(write("scene.tif", values, names=RGB))
    np.testing.assert_array_equal(scene.read_valid(Window(0, 0, 300, 1400)), inside)


@pytest.mark.parametrize(("value", "sign"), [(0, 1), (255, -1)])
def test_water_and_clouds_that_saturate_softly_are_none(write, value, sign):
    deep = np.zeros((80, 80), bool)
    deep[:30, :30] = True
    away = np.minimum(ndimage.distance_transform_edt(~deep) * 4, 120)
    values = np.clip(value + sign * away, 0, 255).astype(np.uint8)[None].repeat(3, axis=0)
    assert not open_scene(write("scene.tif", values, names=RGB)).has_no_data


def test_a_white_roof_at_the_border_is_none(write, picture):
    picture[:, :12, 20:34] = 255
    assert not open_scene(write("scene.tif", picture, names=RGB)).has_no_data


def test_what_is_declared_is_not_sought(write):
    values, _ = slanted((60, 90), 255)
    scene = open_scene(write("scene.tif", values, names=RGB, nodata=0))
    assert scene.read_valid(Window(0, 0, 60, 90)).all()


def test_a_mask_of_zero_and_one_has_no_collar(write):
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[:, 20:40, 20:40] = 1
    assert not open_scene(write("mask.tif", mask), bands={"mask": 1}).has_no_data


def test_jpeg_noise_on_the_collar(write):
    values, inside = slanted((400, 400), 0)
    values = np.where(inside, ndimage.gaussian_filter(values, (0, 4, 4)), 0).astype(np.uint8)
    path = write("scene.tif", values, names=RGB, compress="jpeg", tiled=True, jpeg_quality=75)
    valid = open_scene(path).read_valid(Window(0, 0, 400, 400))
    inner = ndimage.binary_erosion(inside, iterations=8, border_value=1)
    outer = ndimage.binary_erosion(~inside, iterations=9, border_value=1)
    assert valid[inner].all() and (~valid[outer]).mean() > 0.99
