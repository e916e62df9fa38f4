"""The probability on a chip's own grid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from cropland.data.chips import Chip
from cropland.evaluation.judge import at_pixel, chip_probability, only_bands, resized
from cropland.geo.scene import Image, open_scene
from cropland.geo.statistics import Statistics
from cropland.geo.window import Window


def chip(values: np.ndarray, valid: np.ndarray | None = None, *, pixel_m: float = 1.0) -> Chip:
    valid = np.ones(values.shape[1:], bool) if valid is None else valid
    bands = len(values)
    target = np.zeros(values.shape[1:], np.uint8)
    return Chip(Image(values.astype(np.float32), valid), target, "a", "g", pixel_m, (0.0,) * bands, (1.0,) * bands)


def echo(values: np.ndarray) -> np.ndarray:
    """A network that takes the first band for the probability."""
    return logit(np.clip(values[:1], 1e-4, 1 - 1e-4))


def test_at_its_own_pixel_a_chip_is_predicted_as_it_is():
    values = np.random.default_rng(0).random((1, 9, 13))
    np.testing.assert_array_equal(chip_probability(chip(values), echo, pixel_m=1.0), np.rint(values[0] * 254))


def test_no_data_in_no_data_out():
    valid = np.random.default_rng(0).random((20, 20)) > 0.3
    said = chip_probability(chip(np.zeros((1, 20, 20)), valid), echo, pixel_m=2.0)
    assert ((said == 255) == ~valid).all()


def test_a_flat_chip_stays_flat_at_any_pixel():
    for pixel_m in (0.4, 1.0, 1.7, 3.0, 50.0):
        said = chip_probability(chip(np.full((1, 17, 30), 0.5)), echo, pixel_m=pixel_m)
        assert said.shape == (17, 30) and (said == 127).all()


def test_brought_back_bilinearly():
    """Golden: two working pixels of 0 and 1 over four; centres at 0.5 and 2.5, linear in between, flat beyond."""
    values = np.repeat([[0.0, 1.0]], 2, axis=1)[None].repeat(2, axis=1)
    said = chip_probability(chip(values), echo, pixel_m=2.0)
    np.testing.assert_array_equal(said, np.rint(np.array([[0, 0.25, 0.75, 1]] * 2) * 254))


def test_statistics_of_the_model_or_of_the_chips_scene():
    seen = []
    mine = chip(np.full((1, 4, 4), 0.25))
    for statistics in (None, Statistics(("red",), (0.0,), (0.5,))):
        chip_probability(
            mine, lambda values: (seen.append(float(values.max())), echo(values))[1], pixel_m=1.0, statistics=statistics
        )
    assert seen == [0.25, 0.5]


def test_only_bands_takes_them_by_name():
    three = chip(np.arange(3.0)[:, None, None] * np.ones((3, 2, 2)))
    chosen = only_bands(three, ("red", "green", "blue"), ("blue", "red"))
    assert chosen.image.values[:, 0, 0].tolist() == [2, 0] and len(chosen.low) == 2


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([0.6, 1.5, 2.0, 3.3]), st.integers(0, 2**32 - 1))
def test_a_chip_is_read_as_the_same_scene_would_be(tmp_path_factory: pytest.TempPathFactory, ratio: float, seed: int):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 255, (1, 23, 31)).astype(np.uint8) * (rng.random((23, 31)) > 0.2)
    path = Path(tmp_path_factory.mktemp("scene")) / "scene.tif"
    grid = {"transform": Affine(10, 0, 5e5, 0, -10, 4e6), "crs": "EPSG:32650", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=23, width=31, dtype="uint8", **grid) as file:
        file.write(values)
    scene = open_scene(path, bands={"red": 1})
    height, width = scene.working_grid(ratio).shape
    whole = scene.read(Window(0, 0, height, width), bands=["red"], ratio=ratio)
    seen = []

    def look(normal: np.ndarray) -> np.ndarray:
        seen.append(normal)
        return normal

    chip_probability(
        chip(values, values[0] != 0), look, pixel_m=ratio, statistics=Statistics(("red",), (0.0,), (500.0,))
    )
    np.testing.assert_array_equal(seen[0], Statistics(("red",), (0.0,), (500.0,)).normalise(whole.values, whole.valid))


def test_a_chip_at_a_coarser_pixel_is_averaged_and_its_label_is_the_nearest():
    values = np.arange(64.0).reshape(1, 8, 8) / 64
    fine = chip(values)
    fine = replace(fine, target=np.arange(64, dtype=np.uint8).reshape(8, 8) // 2, boundary=np.zeros((8, 8), np.uint8))
    coarse = at_pixel(fine, 2.0)
    assert (coarse.pixel_m, coarse.boundary, coarse.image.values.shape) == (2.0, None, (1, 4, 4))
    assert coarse.image.values.mean() == pytest.approx(values.mean(), abs=0.01)
    np.testing.assert_array_equal(coarse.target, fine.target[1::2, 1::2])
    np.testing.assert_array_equal(resized(fine.target, (8, 8)), fine.target)
    assert resized(fine.target, (3, 16)).shape == (3, 16)
