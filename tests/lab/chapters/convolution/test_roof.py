"""Operations and bytes of each kind of layer by hand, its share of a made-up roof, and what is timed."""

import pytest
import torch
from torch import nn

from cropland.lab.chapters.convolution.roof import ORDERS, ORDINARY, Measured, _near, _run, cost, rounding
from cropland.lab.measure import exactly
from cropland.lab.roofline import Roofline

COSTS = [
    (nn.Conv2d(4, 4, 3, padding=1, bias=False), 2 * 9 * 16 * 64, 256 + 256 + 144),
    (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), 2 * 9 * 4 * 64, 256 + 256 + 36),
    (nn.ConvTranspose2d(4, 4, 2, 2, bias=False), 2 * 4 * 16 * 64, 256 + 1024 + 64),
    (nn.MaxPool2d(2), 3 * 64, 256 + 64),
    (nn.BatchNorm2d(4), 2 * 256, 256 + 256 + 8),
]


@pytest.mark.parametrize(("layer", "flops", "numbers"), COSTS)
def test_operations_and_bytes(layer: nn.Module, flops: int, numbers: int):
    assert cost(layer.eval(), torch.zeros(1, 4, 8, 8)) == (flops, 4 * numbers)


def test_share_of_the_roof():
    roof = Roofline({"float32": {"one": exactly(100.0)}}, {1000: exactly(10.0)})
    assert Measured(1000.0, 10.0, (20.0, 20.0)).share(roof).value == 0.5  # bound by arithmetic: 10 s
    assert Measured(1000.0, 1000.0, (200.0, 200.0)).share(roof).value == 0.5  # by memory: 100 s
    assert Measured(1000.0, 10.0, (20.0, 20.0)).rate.value == 50.0


@pytest.mark.parametrize(("seconds", "decided"), [(20.0, True), (10.0, True), (5.0, False)])
def test_a_layer_above_the_roof_decides_nothing(seconds: float, decided: bool):
    roof = Roofline({"float32": {"one": exactly(100.0)}}, {1000: exactly(10.0)})
    finding = _near(roof, {ORDINARY: Measured(1000.0, 10.0, (seconds, seconds))})
    assert ("ordinary" in finding.numbers) == decided == (not finding.missing)


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
