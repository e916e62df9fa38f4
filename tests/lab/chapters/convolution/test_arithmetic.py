"""im2col against the definition, the formula against PyTorch's counter, and how far times are from the proportion."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cropland.lab.chapters.convolution.arithmetic import (
    Convolved,
    _by_scale,
    apart,
    columns,
    counted,
    difference,
    formula,
    sweeps,
)
from cropland.lab.measure import FULL, QUICK, Budget, Times

LAYERS = [
    nn.Conv2d(4, 6, 3, padding=1, bias=False),
    nn.Conv2d(4, 6, 1, bias=False),
    nn.Conv2d(4, 8, 5, padding=2, groups=4, bias=False),
    nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(4, 6, 3, padding=2, dilation=2, bias=False),
]


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 3, 5, 9)])
def test_weights_times_columns_are_the_convolution(kernel: int, shape: tuple[int, int, int, int]):
    x, w = torch.randn(shape).double(), torch.randn(4, shape[1], kernel, kernel).double()
    product = (w.flatten(1) @ columns(x, kernel, padding=kernel // 2)).reshape(4, *shape[2:])
    assert torch.allclose(product, F.conv2d(x, w, padding=kernel // 2)[0], atol=1e-12)


def test_a_column_is_what_lies_under_the_kernel():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert columns(x, 3, padding=1)[:, 5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert columns(x, 3, padding=1)[:, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 4, 5]


def test_difference_is_a_share_of_the_largest_value():
    assert difference(torch.tensor([1.0, -8.0]), torch.tensor([2.0, -10.0])) == pytest.approx(0.2)


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


def test_operations_and_bytes():
    layer = Convolved(channels=2, kernel=3, edge=10)
    assert layer.flops == 2 * 9 * 2 * 2 * 100
    assert layer.moved == 4 * (200 + 200 + 36)


@pytest.mark.parametrize("budget", [QUICK, FULL])
def test_one_factor_is_varied_at_a_time(budget: Budget):
    middle = Convolved(budget.channels, 3, budget.size)
    for name, layers in sweeps(budget).items():
        field = {"channels": "channels", "kernel": "kernel", "size": "edge"}[name]
        for value, layer in layers.items():
            assert layer == Convolved(**{**vars(middle), field: value})


def test_apart_is_one_where_time_goes_with_work():
    assert apart([(1.0, Times(0, (1.0, 2.0))), (3.0, Times(0, (3.0, 6.0)))]).value == 1.0
    assert apart([(1.0, Times(0, (1.0, 1.0))), (4.0, Times(0, (2.0, 2.0))), (1.0, Times(0, (3.0, 3.0)))]).value == 6.0
