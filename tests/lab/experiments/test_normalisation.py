"""What moves whom, and the crop that everything of the chapter looks at."""

import torch
from torch import nn

from cropland.lab.experiments.normalisation import moved, tile_image


def test_moved_counts_tensors():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))  # four parameters, two statistics

    def act():
        with torch.no_grad():
            network[0].bias[0] += 1
            network[1].running_mean[1] = 5

    assert moved(network, act) == (0.25, 0.5)
    assert moved(network, lambda: None) == (0, 0)


def test_a_forward_pass_in_train_moves_statistics_alone():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    assert moved(network.train(), lambda: network(torch.rand(1, 1, 4, 4))) == (0, 1)
    assert moved(network.eval(), lambda: network(torch.rand(1, 1, 4, 4))) == (0, 0)


def test_the_crop_is_of_the_tile_at_two_metres():
    small, large = tile_image(32), tile_image(64)
    assert small.shape == (1, 3, 32, 32)
    assert torch.equal(large[..., :32, :32], small)
    assert -0.5 <= small.min() < small.max() <= 1.5
