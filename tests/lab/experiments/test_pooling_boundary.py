import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cropland.lab.experiments.pooling_boundary import DOWNS, antialiased, rebuilt


def test_a_blur_is_one_two_one_in_both_directions():
    image = torch.zeros(1, 2, 9, 9)
    image[0, 1, 4, 4] = 16
    found = antialiased(2)(image)
    assert not found[0, 0].any()
    assert found[0, 1, 1:4, 1:4].tolist() == [[0, 0, 0], [0, 4, 0], [0, 0, 0]]
    assert antialiased(2)(image.roll(1, 3))[0, 1, 2].tolist() == [0, 0, 2, 2, 0]


def test_a_blur_keeps_what_is_flat():
    assert torch.equal(antialiased(3)(torch.ones(1, 3, 11, 8)), torch.ones(1, 3, 6, 4))


def test_a_blur_learns_nothing():
    assert not any(weight.requires_grad for weight in antialiased(3).parameters())


@pytest.mark.parametrize("name", DOWNS)
@pytest.mark.parametrize("value", [0, 1])
def test_one_class_comes_back_whole(name: str, value: int):
    truth = np.full((64, 64), value, np.uint8)
    assert (rebuilt(truth, *DOWNS[name], count=3) == value).all()


@pytest.mark.parametrize("name", DOWNS)
def test_a_straight_boundary_comes_back_within_half_a_large_pixel(name: str):
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:] = 1
    found = rebuilt(truth, *DOWNS[name], count=2)
    first = found.argmax(1)
    assert np.abs(first - 32).max() <= 4
    assert (np.diff(found.astype(int), axis=1) >= 0).all()


def test_max_pooling_closes_a_track_and_average_pooling_does_not():
    truth = np.ones((64, 64), np.uint8)
    truth[:, 30:33] = 0  # in no 4 x 4 pixels alone
    assert rebuilt(truth, *DOWNS["max pooling"], count=2).all()
    assert not rebuilt(truth, *DOWNS["average pooling"], count=1).all()


def test_max_pooling_contains_the_truth():
    truth = (F.avg_pool2d(torch.rand(1, 1, 68, 68), 5, 1)[0, 0] > 0.5).numpy().astype(np.uint8)
    largest = F.max_pool2d(torch.from_numpy(truth)[None, None].float(), 8)[0, 0].numpy().repeat(8, 0).repeat(8, 1)
    assert (largest >= truth).all()
