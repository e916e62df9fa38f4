"""im2col against the definition of a convolution."""

import pytest
import torch
from torch.nn import functional as F

from cropland.lab.experiments.convolution import columns, difference


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
