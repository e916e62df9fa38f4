"""What is timed has the order and the type that its name says."""

import pytest
import torch
from torch import nn

from cropland.lab.experiments.convolution_layout import ORDERS, _run, rounding


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_runs_differ_in_order_and_type_alone(order: str, dtype: torch.dtype):
    layer, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 8, 8)
    y = _run(layer, x, torch.device("cpu"), dtype, order)()
    assert isinstance(y, torch.Tensor) and y.dtype == dtype
    assert y.is_contiguous(memory_format=ORDERS[order])
    assert torch.allclose(y.float(), layer(x), atol=1e-5 if dtype == torch.float32 else 0.1)
    assert layer.weight.dtype == torch.float32


def test_rounding_is_a_share_of_the_result():
    assert rounding(torch.tensor([3.0, 4.0]), torch.tensor([3.3, 4.4])) == pytest.approx(1 / 11)
