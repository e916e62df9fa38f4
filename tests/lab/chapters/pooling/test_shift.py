"""Windows that begin further right, and which maps move along with them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cropland.lab.chapters.pooling.shift import (
    MARGIN,
    MODEL_MARGIN,
    SHIFTS,
    compare,
    moved_masks,
    settle,
    shifted,
)

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


STEPS = [0, 1, 2, 3, 4]
MOVED = shifted(torch.rand(1, 160, 170, generator=torch.Generator().manual_seed(0)), 160, STEPS)


class Halved(nn.Module):
    """Down to stride 2 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.point.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(nn.functional.max_pool2d(self.point(x), 2), scale_factor=2.0)


def test_a_convolution_decides_the_same_wherever_the_window_begins():
    masks = moved_masks(Halved().point, MOVED, STEPS, limit=0.5)
    assert masks.shape == (5, 160 - 2 * MODEL_MARGIN, 160 - 2 * MODEL_MARGIN)
    assert (masks == (MOVED[0, 0, MODEL_MARGIN:-MODEL_MARGIN, MODEL_MARGIN:-MODEL_MARGIN] >= 0.5).numpy()).all()


@pytest.mark.parametrize("shift", STEPS)
def test_a_halving_decides_the_same_at_multiples_of_its_stride(shift: int):
    masks = moved_masks(Halved(), MOVED, STEPS, limit=0.8)
    assert (masks[shift] == masks[0]).all() == (shift % 2 == 0)
