import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cropland.lab.experiments.pooling_shift import MARGIN, SHIFTS, compare, settle, shifted

WHOLE = torch.rand(3, 140, 140, generator=torch.Generator().manual_seed(0))
IMAGES = shifted(WHOLE, 128, SHIFTS)


def test_windows_begin_further_right():
    assert IMAGES.shape == (9, 3, 128, 128)
    assert all(torch.equal(IMAGES[shift], WHOLE[:, 6:134, 2 + shift : 130 + shift]) for shift in SHIFTS)


def test_a_window_too_large_for_the_picture_is_cut():
    assert shifted(WHOLE, 200, [0, 8]).shape[-1] == 132


def test_the_image_itself_moves_along():
    assert compare(IMAGES, along=True).tolist() == [0] * 8


def test_unrelated_images_differ_by_the_root_of_two():
    assert compare(IMAGES, along=False).tolist() == pytest.approx([2**0.5] * 8, rel=0.1)


def test_a_convolution_moves_along():
    layer = nn.Conv2d(3, 4, 5, padding=2)
    assert float(compare(layer(IMAGES).detach(), along=True).max()) < 1e-5


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_pooling_moves_along_at_whole_pixels_of_the_small_map(halvings: int):
    small = IMAGES
    for _ in range(halvings):
        small = F.max_pool2d(small, 2)
    errors = compare(F.interpolate(small, (128, 128), mode="bilinear"), along=True)
    for shift in SHIFTS[1:]:
        assert (errors[shift - 1] < 1e-5) == (shift % 2**halvings == 0)


def test_statistics_are_those_of_one_image():
    norm = nn.BatchNorm2d(3)
    settle(norm, IMAGES[:1])
    torch.testing.assert_close(norm.running_mean, IMAGES[0].mean((1, 2)))
    assert not norm.training


def test_no_shift_reaches_beyond_the_margin():
    assert max(SHIFTS) < MARGIN
