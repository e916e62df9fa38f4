"""Atrous spatial pyramid: one input seen at several scales by parallel rates."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.atrous import Atrous
from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable

__all__ = ["Pyramid"]


class Pyramid(nn.Module):
    """A 1 x 1 convolution and one atrous 3 x 3 per rate side by side, joined by a 1 x 1 convolution. Size kept.

    `image_pooling` adds the mean of the whole image as one more branch; a network with it has no finite receptive
    field. `convolution` is `atrous`, or `separable` for depthwise branches.
    Source: Chen et al. 2017, arXiv:1706.05587, and 2018, arXiv:1802.02611.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        rates: Sequence[int] = (6, 12, 18),
        convolution: str = "atrous",
        norm: str = "batch_norm",
        image_pooling: bool = False,
    ) -> None:
        super().__init__()
        branch = Separable if convolution == "separable" else Atrous
        self.point = Convolution(channels_in, channels_out, kernel=1, norm=norm)
        self.branches = nn.ModuleList(branch(channels_in, channels_out, rate=rate, norm=norm) for rate in rates)
        # No normalisation here: over one pixel per image, batch statistics of a micro-batch of one do not exist.
        self.image = nn.Conv2d(channels_in, channels_out, 1) if image_pooling else None
        self.join = Convolution(channels_out * (1 + len(rates) + image_pooling), channels_out, kernel=1, norm=norm)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out height width"]:
        seen = [self.point(x), *(branch(x) for branch in self.branches)]
        if self.image is not None:
            seen.append(F.relu(self.image(x.mean((2, 3), keepdim=True))).expand_as(seen[0]))
        joined: Tensor = self.join(torch.cat(seen, 1))
        return joined
