"""Evenness over scales, and what scaling the weights does to a normalised network."""

import pytest
import torch
from torch import nn

from cropland.lab.experiments.normalisation_initialisation import evenness, scaled


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
