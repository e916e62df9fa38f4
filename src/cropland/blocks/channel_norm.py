"""Normalisation over the channels of each pixel."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ChannelNorm"]


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels: no statistics of the batch, none of the image, so any batch and tile do.

    y = gamma (x - mean_c) / sqrt(variance_c + epsilon) + beta, mean and variance over the channels of one pixel.
    Shape kept.
    Source: layer normalisation of Ba, Kiros and Hinton 2016, arXiv:1607.06450, per pixel as in ConvNeXt,
    arXiv:2201.03545.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        centred = x - x.mean(1, keepdim=True)
        scaled = centred * torch.rsqrt(centred.square().mean(1, keepdim=True) + 1e-5)
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]
