"""A plain encoder: a unit, a down-sampling, and again."""

from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find

__all__ = ["Plain"]


class Plain(nn.Module):
    """`depth` down-samplings between units of `width`, 2 `width`, 4 `width` ... channels; maps at strides 1, 2, 4 ...

    Source: Ronneberger, Fischer and Brox 2015, arXiv:1505.04597.
    """

    def __init__(
        self,
        bands: int,
        *,
        width: int = 16,
        depth: int = 4,
        unit: str = "double_convolution",
        convolution: str = "convolution",
        down: str = "max_pool",
        norm: str = "batch_norm",
    ) -> None:
        super().__init__()
        self.channels = tuple(width * 2**level for level in range(depth + 1))
        self.strides = tuple(2**level for level in range(depth + 1))
        make = find("blocks", unit)
        self.units = nn.ModuleList(
            make(before, after, convolution=convolution, norm=norm)
            for before, after in zip((bands, *self.channels), self.channels, strict=False)
        )
        self.downs = nn.ModuleList(find("blocks", down)(channels) for channels in self.channels[:-1])

    def forward(self, x: Float[Tensor, "batch band height width"]) -> list[Tensor]:
        maps = [self.units[0](x)]
        for down, unit in zip(self.downs, self.units[1:], strict=True):
            maps.append(unit(down(maps[-1])))
        return maps
