"""What is not a number tells the field exactly."""

import pytest
import torch
from torch import nn

from cropland.catalog import find
from cropland.lab.reach import Reach, maps_of, reach
from cropland.streaming.receptive_field import field


def test_convolutions_in_a_row_add_up():
    network = nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, padding=2, dilation=2)
    )
    assert reach(maps_of(network, ["0", "1", "2"]), 1) == [Reach(1, 3, 1), Reach(2, 5, 2), Reach(2, 13, 6)]


@pytest.mark.parametrize("up", ["bilinear", "transposed"])
def test_the_radius_is_that_of_the_exported_graph(up: str):
    torch.manual_seed(0)
    network = find("networks", "unet")(1, width=2, up=up, encoder_options={"width": 2, "depth": 2}).eval()
    _, found = reach(maps_of(network, ["encoder", "head"]), 1)
    assert found is not None and found.radius == field(network, 1).radius


def test_a_look_at_the_whole_image_has_no_bound():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GroupNorm(1, 2))
    assert reach(maps_of(network, ["0", "1"]), 1) == [Reach(1, 3, 1), None]
