"""The formula against counting one by one, and against PyTorch's counter."""

import itertools

import pytest
from torch import nn

from cropland.lab.experiments.convolution_arithmetic import _by_scale, counted, formula

LAYERS = [
    nn.Conv2d(4, 6, 3, padding=1, bias=False),
    nn.Conv2d(4, 6, 1, bias=False),
    nn.Conv2d(4, 8, 5, padding=2, groups=4, bias=False),
    nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False),
]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("edge", [8, 9])
def test_the_formula_counts_every_multiplication(layer: nn.Conv2d, edge: int):
    outputs = len(range(0, edge, layer.stride[0]))
    taps = itertools.product(
        range(layer.out_channels),
        range(layer.in_channels // layer.groups),
        range(layer.kernel_size[0]),
        range(layer.kernel_size[0]),
    )
    each = sum(1 for _ in taps)
    assert formula(layer, edge) == (layer.weight.numel(), each * outputs**2)
    assert counted(layer, layer.in_channels, edge) == each * outputs**2


def test_shares_by_scale():
    numbers = _by_scale({1: 100, 2: 400}).numbers
    assert (numbers["unequal"].value, numbers["deepest_parameters"].value) == (4.0, 0.8)
    assert numbers["deepest_work"].value == numbers["finest_work"].value == 0.5
