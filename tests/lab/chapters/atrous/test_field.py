"""The field and the taps of atrous convolutions, by hand and by gradients."""

import pytest
import torch

from cropland.lab.chapters.atrous.field import _gradients, edge, exact_edge, mosaic, parameters, phases, together

CPU = torch.device("cpu")


@pytest.mark.parametrize("rates", [(1,), (3,), (2, 2, 2), (1, 2, 5)])
def test_the_exact_edge_is_a_pixel_and_the_rates_to_both_sides(rates: tuple[int, ...]):
    assert exact_edge(rates) == 2 * sum(rates) + 1


def test_the_rate_adds_no_parameter():
    assert parameters((1, 1, 1), 8) == parameters((1, 2, 5), 8) == parameters((7, 7, 7), 8)


@pytest.mark.parametrize("rates", [(2,), (2, 2), (1, 3)])
def test_gradients_come_from_the_taps_alone(rates: tuple[int, ...]):
    torch.manual_seed(0)
    seen = _gradients(rates, CPU, 16).sum(0) > 0
    expected = torch.zeros_like(seen)
    middle = len(seen) // 2
    reached = {0}
    for rate in rates:
        reached = {place + step * rate for place in reached for step in (-1, 0, 1)}
    index = torch.tensor([middle + place for place in reached])
    expected[index[:, None], index] = True
    assert torch.equal(seen, expected)


def test_the_effective_edge_holds_most_of_the_squared_gradient():
    squared = torch.zeros(9, 9)
    squared[4, 4], squared[4, 6], squared[0, 0] = 0.9, 0.06, 0.04
    assert edge(squared) == 5
    squared[0, 0] = 0.1
    assert edge(squared) == 9


def test_an_atrous_convolution_is_an_ordinary_one_of_each_phase():
    image, kernel = torch.randn(1, 1, 24, 24).double(), torch.randn(1, 1, 3, 3).double()
    whole = torch.nn.functional.conv2d(image, kernel, padding=3, dilation=3)
    each = torch.nn.functional.conv2d(phases(image, 3), kernel, padding=1)
    assert torch.allclose(together(each, 3), whole, atol=1e-14)
    assert torch.equal(phases(image, 3)[5, 0], image[0, 0, 1::3, 2::3])


def test_the_mosaic_shows_every_phase():
    coarse = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    picture = mosaic(coarse)
    assert picture.shape == (6, 6)
    assert [picture[0, 0], picture[0, 3], picture[3, 0], picture[3, 3]] == [0, 1, 2, 3]
