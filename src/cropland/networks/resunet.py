"""ResUNet: a U-Net of residual units."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from cropland.blocks.residual import Residual
from cropland.networks.unet import UNet

__all__ = ["resunet"]


def resunet(
    bands: int,
    outputs: int = 1,
    *,
    encoder: str = "plain",
    encoder_options: Mapping[str, Any] | None = None,
    width: int = 16,
    convolution: str = "convolution",
    up: str = "bilinear",
    norm: str = "batch_norm",
    zero_init: bool = False,
) -> nn.Module:
    """A U-Net whose units, up and (with the plain encoder) down, are residual; with `zero_init` each begins as its
    shortcut.

    Source: Zhang, Liu and Wang 2018, doi:10.1109/LGRS.2018.2802944.
    """
    options = dict(encoder_options or {})
    if encoder == "plain":
        options.setdefault("unit", "residual")
    network = UNet(
        bands,
        outputs,
        encoder=encoder,
        encoder_options=options,
        width=width,
        unit="residual",
        convolution=convolution,
        up=up,
        norm=norm,
    )
    for part in network.modules():
        if zero_init and isinstance(part, Residual):
            part.start_as_shortcut()
    return network
