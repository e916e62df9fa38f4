"""Maximum pooling."""

from torch import nn

__all__ = ["max_pool"]


def max_pool(channels: int) -> nn.Module:
    """The largest of each 2 x 2 pixels; the size is halved, rounding up (beyond the edge lies minus infinity). No
    parameters.

    Source: Ranzato et al. 2007, doi:10.1109/CVPR.2007.383157.
    """
    return nn.MaxPool2d(2, ceil_mode=True)
