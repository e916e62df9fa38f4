"""Average pooling."""

from torch import nn

__all__ = ["average_pool"]


def average_pool(channels: int) -> nn.Module:
    """The mean of each 2 x 2 pixels; the size is halved, rounding up (at the edge the mean of what is there). No
    parameters.

    Source: LeCun et al. 1998, doi:10.1109/5.726791.
    """
    return nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
