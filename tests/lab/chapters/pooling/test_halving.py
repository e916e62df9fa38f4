"""What halving leaves the same, what it saves, and what it does to flat maps, boundaries and tracks."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cropland.lab.chapters.pooling.halving import DOWNS, activations, antialiased, rebuilt, with_halvings
from cropland.lab.measure import multiply_adds
from cropland.streaming.receptive_field import field


def test_a_network_without_halvings_has_the_same_weights():
    shapes = [[weight.shape for weight in with_halvings(count).parameters()] for count in (0, 2, 4)]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("count", range(5))
def test_the_last_map_is_halved_so_often(count: int):
    network = with_halvings(count).eval()
    image = torch.zeros(1, 3, 32, 32)
    assert network.encoder(image)[-1].shape[-1] == 32 >> count
    assert network(image).shape[-2:] == (32, 32)


def test_a_halving_left_out_costs_four_times_the_work_below_it():
    image = torch.zeros(1, 3, 32, 32)
    three, four = (multiply_adds(with_halvings(count).eval(), image) for count in (3, 4))
    deepest = with_halvings(4).eval()
    maps = deepest.encoder(image)
    unit = multiply_adds(deepest.encoder.units[4], torch.zeros(1, 96, 2, 2))
    narrow = multiply_adds(next(deepest.ups[0].children()), maps[-1])  # it comes before the doubling
    assert three - four == pytest.approx(3 * (unit + narrow))


def test_activations_leave_the_weights_out():
    layer = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False)
    assert activations(layer, torch.zeros(1, 5, 8, 8)) == 4 * 5 * 64


def test_without_halving_every_convolution_reaches_one_pixel_further():
    # Two convolutions in each of five units down and four units up.
    assert field(with_halvings(0).eval(), 3).radius == 18


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
