"""The residual unit."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.catalog import find

__all__ = ["Residual"]


class Residual(nn.Module):
    """Two convolutions beside a shortcut that adds the input to what they find: y = relu(f(x) + s(x)). Size kept.

    The shortcut is the identity, or a 1 x 1 convolution where the channels change.
    Source: He et al. 2016, arXiv:1512.03385; in a U-Net Zhang, Liu and Wang 2018, doi:10.1109/LGRS.2018.2802944.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, convolution: str = "convolution", norm: str = "batch_norm"
    ) -> None:
        super().__init__()
        self.first = find("blocks", convolution)(channels_in, channels_out, norm=norm)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm = find("blocks", norm)(channels_out)
        same = channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def start_as_shortcut(self) -> None:
        """Let the unit begin as its shortcut alone: the last norm's gamma starts at zero, and is learnt.

        Source: Goyal et al. 2017, arXiv:1706.02677.
        """
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out height width"]:
        return F.relu(self.norm(self.second(self.first(x))) + self.shortcut(x))
