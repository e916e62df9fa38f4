"""DeepLabV3+: an atrous pyramid on coarse maps, joined with fine ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.blocks.convolution import Convolution
from cropland.blocks.pyramid import Pyramid
from cropland.catalog import find

__all__ = ["DeepLabV3Plus"]


class DeepLabV3Plus(nn.Module):
    """An encoder to stride 16, an atrous spatial pyramid, and a decoder that joins the map at stride 4.

    Without `image_pooling` the field is finite and tiles equal the whole. Sizes are cut as in the U-Net.
    Source: Chen et al. 2018, arXiv:1802.02611.
    """

    def __init__(
        self,
        bands: int,
        outputs: int = 1,
        *,
        encoder: str = "plain",
        encoder_options: Mapping[str, Any] | None = None,
        width: int = 64,
        rates: Sequence[int] = (6, 12, 18),
        convolution: str = "separable",
        up: str = "bilinear",
        norm: str = "batch_norm",
        image_pooling: bool = False,
    ) -> None:
        super().__init__()
        options = dict(encoder_options or {})
        if encoder == "efficientnet_lite0":
            options.setdefault("output_stride", 16)
        self.encoder = find("encoders", encoder)(bands, norm=norm, **options)
        strides = self.encoder.strides
        self.fine = strides.index(4)
        self.pyramid = Pyramid(
            self.encoder.channels[-1],
            width,
            rates=rates,
            convolution="separable" if convolution == "separable" else "atrous",
            norm=norm,
            image_pooling=image_pooling,
        )
        make_up, make = find("blocks", up), find("blocks", convolution)
        doublings = (strides[-1] // 4).bit_length() - 1
        self.ups = nn.ModuleList(make_up(width, width) for _ in range(doublings))
        self.skip = Convolution(self.encoder.channels[self.fine], 48, kernel=1, norm=norm)
        self.refine = nn.Sequential(make(width + 48, width, norm=norm), make(width, width, norm=norm))
        self.head = nn.Conv2d(width, outputs, 1)
        self.finish = nn.ModuleList(make_up(outputs, outputs) for _ in range(2))

    def forward(self, x: Float[Tensor, "batch band height width"]) -> Float[Tensor, "batch output height width"]:
        maps = self.encoder(x)
        y = self.pyramid(maps[-1])
        for up, size in zip(self.ups, _sizes(maps, self.encoder.strides, self.fine), strict=True):
            y = _cut(up(y), size)
        fine = maps[self.fine]
        y = self.head(self.refine(torch.cat([y, self.skip(fine)], 1)))
        rows, columns = x.shape[-2:]
        y = _cut(self.finish[0](y), torch.Size([(rows + 1) // 2, (columns + 1) // 2]))
        return _cut(self.finish[1](y), x.shape[-2:])


def _sizes(maps: Sequence[Tensor], strides: Sequence[int], fine: int) -> list[torch.Size]:
    """The size after each doubling from the coarsest stride to that of the fine map."""
    size_of = {stride: y.shape[-2:] for stride, y in zip(strides, maps, strict=True)}
    return [size for stride, size in sorted(size_of.items(), reverse=True) if strides[fine] <= stride < strides[-1]]


def _cut(y: Tensor, size: torch.Size) -> Tensor:
    return y[..., : size[0], : size[1]]
