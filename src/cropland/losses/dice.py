"""Dice loss."""

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["dice"]


def dice(
    logit: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """1 - (2 sum p t + s) / (sum p + sum t + s) over valid pixels; s = 1 % of the valid pixels keeps chips without
    cropland calm.

    Source: Milletari, Navab and Ahmadi 2016, arXiv:1606.04797.
    """
    p, t = logit.sigmoid() * valid, target * valid
    smooth = 0.01 * valid.sum((1, 2)).clamp(min=1)
    return (1 - (2 * (p * t).sum((1, 2)) + smooth) / ((p + t).sum((1, 2)) + smooth)) * valid.any(2).any(1)
