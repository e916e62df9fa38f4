"""Group normalisation."""

import math

from torch import nn

__all__ = ["group_norm"]


def group_norm(channels: int) -> nn.Module:
    """Normalise groups of channels over the whole image of one chip.

    Eight groups where the channels allow. The mean runs over the image, so a network with it has no finite receptive
    field: tiles would differ from the whole. Shape kept.
    Source: Wu and He 2018, arXiv:1803.08494.
    """
    return nn.GroupNorm(math.gcd(channels, 8), channels)
