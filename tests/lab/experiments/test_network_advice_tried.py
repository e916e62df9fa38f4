"""A part made separable."""

import torch
from torch import nn

from cropland.lab.experiments.network_advice_tried import with_separable


def test_a_part_becomes_separable_and_keeps_its_shape():
    part = nn.Sequential(
        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.Conv2d(6, 2, 1)
    )
    network, image = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), part), torch.rand(1, 4, 9, 9)
    shape = network(image).shape
    changed = with_separable(network, "1")
    assert changed(image).shape == shape
    assert sum(value.numel() for value in changed[1][0].parameters()) == 4 * 9 + 4 * 6
    assert isinstance(changed[0], nn.Conv2d) and isinstance(changed[1][2], nn.Conv2d)


def test_a_part_that_is_a_convolution_itself_is_changed_too():
    assert isinstance(with_separable(nn.Sequential(nn.Conv2d(4, 4, 3)), "0")[0], nn.Sequential)
