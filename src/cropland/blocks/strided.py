"""Down-sampling by a strided convolution."""

from torch import nn

from cropland.blocks.convolution import Convolution

__all__ = ["strided"]


def strided(channels: int, *, norm: str = "batch_norm") -> nn.Module:
    """A 3 x 3 convolution that looks at every second pixel; the size is halved, rounding up. Parameters 9 C^2.

    Source: Springenberg et al. 2015, arXiv:1412.6806.
    """
    return Convolution(channels, channels, stride=2, norm=norm)
