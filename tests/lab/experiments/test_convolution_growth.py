"""What is counted of a layer, and how far its times are from the proportion."""

import pytest

from cropland.lab.experiments.convolution_growth import Layer, apart, sweeps
from cropland.lab.measure import FULL, QUICK, Budget, Times


def test_operations_and_bytes():
    layer = Layer(channels=2, kernel=3, edge=10)
    assert layer.flops == 2 * 9 * 2 * 2 * 100
    assert layer.moved == 4 * (200 + 200 + 36)


@pytest.mark.parametrize("budget", [QUICK, FULL])
def test_one_factor_is_varied_at_a_time(budget: Budget):
    middle = Layer(budget.channels, 3, budget.size)
    for name, layers in sweeps(budget).items():
        field = {"channels": "channels", "kernel": "kernel", "size": "edge"}[name]
        for value, layer in layers.items():
            assert layer == Layer(**{**vars(middle), field: value})


def test_apart_is_one_where_time_goes_with_work():
    assert apart([(1.0, Times(0, (1.0, 2.0))), (3.0, Times(0, (3.0, 6.0)))]).value == 1.0
    assert apart([(1.0, Times(0, (1.0, 1.0))), (4.0, Times(0, (2.0, 2.0))), (1.0, Times(0, (3.0, 3.0)))]).value == 6.0
