"""Squeeze and excitation."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the whole image holds: y = x sigmoid(W2 relu(W1 mean(x))). Shape kept.

    The mean runs over the image, so a network with it has no finite receptive field.
    Source: Hu, Shen and Sun 2018, arXiv:1709.01507.
    """

    def __init__(self, channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        narrow = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, narrow, 1)
        self.excite = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        mean = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
