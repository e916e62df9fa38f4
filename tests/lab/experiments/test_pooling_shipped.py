import pytest
import torch
from torch import nn

from cropland.lab.experiments.pooling_shipped import MARGIN, moved_masks, picture, shifted

SHIFTS = [0, 1, 2, 3, 4]
IMAGES = shifted(torch.rand(1, 160, 170, generator=torch.Generator().manual_seed(0)), 160, SHIFTS)


class Halved(nn.Module):
    """Down to stride 2 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.point.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(nn.functional.max_pool2d(self.point(x), 2), scale_factor=2.0)


def test_a_convolution_decides_the_same_wherever_the_window_begins():
    masks = moved_masks(Halved().point, IMAGES, SHIFTS, limit=0.5)
    assert masks.shape == (5, 160 - 2 * MARGIN, 160 - 2 * MARGIN)
    assert (masks == (IMAGES[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN] >= 0.5).numpy()).all()


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_halving_decides_the_same_at_multiples_of_its_stride(shift: int):
    masks = moved_masks(Halved(), IMAGES, SHIFTS, limit=0.8)
    assert (masks[shift] == masks[0]).all() == (shift % 2 == 0)


def test_the_picture_is_the_tile_at_two_metres():
    assert picture().shape == (3, 512, 512)
