import pytest
import torch

from cropland.lab.experiments.pooling import activations, multiply_adds, with_halvings
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


def test_multiply_adds_of_a_convolution():
    layer = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False)
    assert multiply_adds(layer, torch.zeros(1, 5, 8, 8)) == 9 * 5 * 7 * 64


def test_activations_leave_the_weights_out():
    layer = torch.nn.Conv2d(5, 7, 3, padding=1, bias=False)
    assert activations(layer, torch.zeros(1, 5, 8, 8)) == 4 * 5 * 64


def test_without_halving_every_convolution_reaches_one_pixel_further():
    # Two convolutions in each of five units down and four units up.
    assert field(with_halvings(0).eval(), 3).radius == 18
