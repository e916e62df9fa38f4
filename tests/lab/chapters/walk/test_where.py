"""The square that holds most of the gradient, and how far a pixel is from an edge."""

import numpy as np
import torch
from torch import nn

from cropland.lab.chapters.walk.where import effective, square, to_edge


def test_the_square_is_the_smallest_that_holds_nine_tenths():
    weights = np.zeros((21, 21))
    weights[10, 10], weights[10, 13], weights[2, 10] = 5.0, 4.5, 0.5
    assert square(weights, (10, 10)) == 7
    weights[2, 10] = 4.0
    assert square(weights, (10, 10)) == 17


def test_a_flat_window_is_seen_whole():
    layer, image = nn.Conv2d(1, 1, 5, padding=2), torch.rand(1, 1, 32, 32, requires_grad=True)
    nn.init.ones_(layer.weight)
    assert effective(layer(image), image, 2) == [5, 5]


def test_the_middle_of_a_coarse_pixel_lies_between_fine_ones():
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    assert effective(nn.functional.avg_pool2d(image, 4), image, 1) in ([3], [5])


def test_the_distance_counts_to_the_nearest_of_the_other_class():
    true = np.zeros((1, 8), bool)
    true[0, :3] = True
    assert to_edge(true).tolist() == [[3, 2, 1, 1, 2, 3, 4, 5]]
