"""Gradients by layer where they are known, orders of magnitude, and evenness over scales of the weights."""

import pytest
import torch
from torch import Tensor, nn

from cropland.lab.chapters.normalisation.gradients import crops, evenness, orders, scaled, signal_and_gradient


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


def test_evenness_is_the_worst_fall_over_the_best():
    assert evenness([0.5, 0.75, 0.6]) == pytest.approx(0.5)
    assert evenness([0.4, 0.4]) == pytest.approx(1)
    assert evenness([0.5, 1.3]) == 0
    assert evenness([1.0, 10.0]) == 0


def test_batch_norm_takes_the_scale_of_the_weights_away_until_epsilon_counts():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)

    def change(epsilon: float) -> float:
        network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=epsilon))
        before = network(x).detach()
        return (scaled(network, 0.1)(x) - before).abs().max().item()

    assert change(1e-12) < 1e-4
    assert change(1e-3) > 0.1


def test_biases_are_left_alone():
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    weight, bias = network[0].weight.item(), network[0].bias.item()
    scaled(network, 10)
    assert network[0].weight.item() == pytest.approx(10 * weight)
    assert network[0].bias.item() == bias
