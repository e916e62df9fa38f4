"""Two convolutions in a row, the unit of the U-Net."""

from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["DoubleConvolution"]


class DoubleConvolution(nn.Module):
    """Two convolutions of the named kind, one after the other. Size kept.

    Source: Ronneberger, Fischer and Brox 2015, arXiv:1505.04597.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, convolution: str = "convolution", norm: str = "batch_norm"
    ) -> None:
        super().__init__()
        block = find("blocks", convolution)
        self.first = block(channels_in, channels_out, norm=norm)
        self.second = block(channels_out, channels_out, norm=norm)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out height width"]:
        y: Tensor = self.second(self.first(x))
        return y
