"""The atrous (dilated) convolution."""

from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["Atrous"]


class Atrous(nn.Module):
    """A 3 x 3 convolution whose taps lie `rate` pixels apart, a normalisation, and a rectifier.

    y[o] = relu(norm(sum of w[o, i, u, v] x[i, r + rate u, c + rate v])): the parameters of an ordinary 3 x 3, a field
    of 2 rate + 1 pixels, no down-sampling. Shape kept at stride 1.
    Source: Chen et al. 2017, arXiv:1706.05587; Yu and Koltun 2016, arXiv:1511.07122.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, rate: int = 2, stride: int = 1, norm: str = "batch_norm"
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=rate, dilation=rate, bias=False)
        self.norm = find("blocks", norm)(channels_out)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        y: Tensor = self.activation(self.norm(self.convolution(x)))
        return y
