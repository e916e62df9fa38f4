"""The inverted residual unit of mobile networks."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.catalog import find

__all__ = ["InvertedResidual"]


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, filter within channels, narrow by 1 x 1 without activation; add the input where the shape is
    kept.

    Padding is TensorFlow's 'same' of an even input, whatever the size: at stride 2 it is (k - 2) / 2 before and the
    rest after. So a shift of the input by the stride shifts the output by one pixel, at odd sizes too, and the size is
    halved rounding up.
    Source: Sandler et al. 2018, arXiv:1801.04381; without squeeze-and-excitation and with ReLU6 as EfficientNet-Lite.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        rate: int = 1,
        expansion: int = 6,
        norm: str = "batch_norm",
    ) -> None:
        super().__init__()
        normalise = find("blocks", norm)
        wide = channels_in * expansion
        self.expand = (
            nn.Sequential(nn.Conv2d(channels_in, wide, 1, bias=False), normalise(wide), nn.ReLU6(inplace=True))
            if expansion > 1
            else nn.Identity()
        )
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, dilation=rate, groups=wide, bias=False)
        self.depthwise_norm = normalise(wide)
        self.project = nn.Sequential(nn.Conv2d(wide, channels_out, 1, bias=False), normalise(channels_out))
        self.padding = same_padding(kernel, stride=stride, rate=rate)
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out rows columns"]:
        wide = self.expand(x)
        filtered = F.relu6(self.depthwise_norm(self.depthwise(F.pad(wide, self.padding))))
        y: Tensor = self.project(filtered)
        return x + y if self.adds_input else y


def same_padding(kernel: int, *, stride: int, rate: int = 1) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) that is TensorFlow's 'same' at even sizes and shifts with the input at all
    sizes."""
    total = rate * (kernel - 1)
    before = (total - stride + 1) // 2
    return (before, total - before, before, total - before)
