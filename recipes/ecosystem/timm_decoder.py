"""A network of timm with a small decoder: `timm_decoder.py:Net` in a recipe."""

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional


class Net(nn.Module):
    """Maps of a timm encoder, brought to one size and joined."""

    def __init__(self, encoder: str = "mobilenetv3_small_100", width: int = 16) -> None:
        super().__init__()
        self.encoder = timm.create_model(encoder, pretrained=False, features_only=True, out_indices=(0, 1, 2))
        self.narrow = nn.ModuleList(nn.Conv2d(count, width, 1) for count in self.encoder.feature_info.channels())
        self.head = nn.Sequential(nn.Conv2d(3 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = [narrow(each) for narrow, each in zip(self.narrow, self.encoder(x), strict=True)]
        scales = [2 ** (level + 1) for level in range(len(maps))]
        same = [
            functional.interpolate(y, scale_factor=float(s), mode="nearest") for y, s in zip(maps, scales, strict=True)
        ]
        return self.head(torch.cat(same, 1))
