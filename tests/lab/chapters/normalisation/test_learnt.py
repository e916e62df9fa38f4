"""What moves whom; folding is exact wherever a convolution comes first; tiles equal the whole for norms of one pixel or
of fixed statistics.
"""

import pytest
import torch
from torch import nn

from cropland.lab.chapters.normalisation.learnt import fold, in_tiles, moved
from cropland.networks.deeplab_v3_plus import DeepLabV3Plus
from cropland.networks.resunet import resunet
from cropland.networks.unet import UNet


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


def stirred(network: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that do something."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.5, 2)
            for value in (module.bias.data, module.running_mean):
                value.normal_()
    return network.eval()


@pytest.mark.parametrize("make", [UNet, resunet, DeepLabV3Plus])
@torch.no_grad()
def test_a_folded_network_computes_the_same_without_norms(make):
    network, image = stirred(make(3)), torch.rand(1, 3, 32, 32)
    folded, y = fold(network), network(image)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(folded(image), y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


def test_a_norm_without_a_convolution_before_it_stays():
    network = stirred(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in fold(network)) == 2


@pytest.mark.parametrize(("norm", "same"), [("batch_norm", True), ("channel_norm", True), ("group_norm", False)])
@torch.no_grad()
def test_tiles_against_the_whole(norm: str, same: bool):
    network = UNet(3, width=8, encoder_options={"width": 8, "depth": 2}, norm=norm)
    image = torch.rand(1, 3, 96, 96) * torch.linspace(0, 2, 96)
    tiled, whole = in_tiles(stirred(network), image, size=32), network(image)[0, 0]
    assert bool((tiled - whole).abs().max() < 1e-4 * whole.std()) is same
