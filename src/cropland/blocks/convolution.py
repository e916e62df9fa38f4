"""The ordinary convolution, with its normalisation and activation."""

from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["Convolution"]


class Convolution(nn.Module):
    """A k x k convolution, a normalisation, and a rectifier.

    y[o] = relu(norm(sum over i, u, v of w[o, i, u, v] x[i, r + u, c + v])). Parameters k^2 I O, multiply-adds k^2 I O
    per output pixel. The size is kept at stride 1 and halved, rounding up, at stride 2.
    Source: LeCun et al. 1989, doi:10.1162/neco.1989.1.4.541.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: str = "batch_norm",
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = find("blocks", norm)(channels_out)
        self.activation = nn.ReLU(inplace=True) if activation else nn.Identity()

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        y: Tensor = self.activation(self.norm(self.convolution(x)))
        return y
