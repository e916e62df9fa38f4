"""The depthwise-separable convolution."""

from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["Separable"]


class Separable(nn.Module):
    """A k x k convolution within each channel, then a 1 x 1 convolution across channels, a normalisation, and a
    rectifier.

    Parameters k^2 I + I O instead of k^2 I O, and one activation more to write and read. The size is kept at stride 1
    and halved, rounding up, at stride 2.
    Source: Chollet 2017, arXiv:1610.02357; Howard et al. 2017, arXiv:1704.04861.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        rate: int = 1,
        norm: str = "batch_norm",
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels_in,
            channels_in,
            kernel,
            stride,
            padding=rate * (kernel // 2),
            dilation=rate,
            groups=channels_in,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = find("blocks", norm)(channels_out)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        y: Tensor = self.activation(self.norm(self.pointwise(self.depthwise(x))))
        return y
