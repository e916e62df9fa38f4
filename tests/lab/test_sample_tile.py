"""The tile in grey and in colour, in metres."""

import torch

from cropland.demo import TILE
from cropland.geo.scene import open_scene
from cropland.lab.sample_tile import grey, normalised


def test_grey_is_in_pixels_of_one_metre():
    image = grey(8, row=600, column=420)
    assert image.shape == (1, 1, 8, 8) and 0 <= image.min() < image.max() <= 1


def test_colour_is_the_tile_at_two_metres():
    assert tuple(normalised().shape) == (3, *open_scene(TILE).working_grid(2.0).shape)


def test_a_part_is_the_upper_left():
    small, large = normalised(32), normalised(64)
    assert torch.equal(large[:, :32, :32], small)
    assert -0.5 <= small.min() < small.max() <= 1.5
