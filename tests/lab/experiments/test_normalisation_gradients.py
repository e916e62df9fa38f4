"""Gradients by layer where they are known, and orders of magnitude."""

import pytest
import torch
from torch import Tensor, nn

from cropland.lab.experiments.normalisation_gradients import crops, orders, signal_and_gradient


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_a_layer_that_halves_halves_the_signal_and_the_gradient():
    image = torch.randn(2, 1, 8, 8)
    signal, gradient = signal_and_gradient([Times(0.5) for _ in range(4)], image)
    deviation = float(image.std())
    assert signal == pytest.approx([deviation / 2, deviation / 4, deviation / 8, deviation / 16])
    assert gradient == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1])


def test_orders_of_magnitude():
    assert orders([0.1, 100, 1]) == pytest.approx(3)
    assert orders([2, 2]) == 0
    assert orders([1, 0]) > 40


def test_crops_are_the_quarters():
    image = torch.rand(1, 3, 8, 8)
    quarters = crops(image)
    assert quarters.shape == (4, 3, 4, 4)
    assert torch.equal(quarters[1], image[0, :, :4, 4:])
    assert torch.equal(quarters[2], image[0, :, 4:, :4])
