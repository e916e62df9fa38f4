"""U-Net: down, up, and a skip at every size."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["UNet"]


class UNet(nn.Module):
    """An encoder and a decoder that joins each of its maps on the way up.

    Odd sizes: maps are ceil(size / 2), so doubling may give one row or column too many; it is cut off at the far edge,
    which keeps every pixel in its place and the tiles equal to the whole.
    Source: Ronneberger, Fischer and Brox 2015, arXiv:1505.04597.
    """

    def __init__(
        self,
        bands: int,
        outputs: int = 1,
        *,
        encoder: str = "plain",
        encoder_options: Mapping[str, Any] | None = None,
        width: int = 16,
        unit: str = "double_convolution",
        convolution: str = "convolution",
        up: str = "bilinear",
        norm: str = "batch_norm",
    ) -> None:
        super().__init__()
        self.encoder = find("encoders", encoder)(bands, norm=norm, **(encoder_options or {}))
        skips = list(self.encoder.channels[-2::-1])
        if self.encoder.strides[0] == 2:
            skips.append(0)  # the last doubling has no map to join
        widths = [width * 2**level for level in reversed(range(len(skips)))]
        before = [self.encoder.channels[-1], *widths]
        make_up, make_unit = find("blocks", up), find("blocks", unit)
        self.ups = nn.ModuleList(make_up(a, b) for a, b in zip(before, widths, strict=False))
        self.units = nn.ModuleList(
            make_unit(b + skip, b, convolution=convolution, norm=norm) for b, skip in zip(widths, skips, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], outputs, 1)

    def forward(self, x: Float[Tensor, "batch band height width"]) -> Float[Tensor, "batch output height width"]:
        *skips, y = self.encoder(x)
        for up, unit in zip(self.ups, self.units, strict=True):
            skip = skips.pop() if skips else None
            y = unit(_join(up(y), skip, size=x.shape[-2:]))
        logits: Tensor = self.head(y)
        return logits


def _join(y: Tensor, skip: Tensor | None, *, size: torch.Size) -> Tensor:
    if skip is None:
        return y[..., : size[0], : size[1]]
    return torch.cat([y[..., : skip.shape[-2], : skip.shape[-1]], skip], 1)
