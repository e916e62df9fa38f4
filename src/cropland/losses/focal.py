"""Focal loss."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["focal"]

GAMMA = 2.0  # the value that the source recommends


def focal(
    logit: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """Cross-entropy weighed by (1 - q)^2, q the probability given to what is true: easy pixels count little.

    Source: Lin et al. 2017, arXiv:1708.02002.
    """
    each = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    hard = (target - logit.sigmoid()).abs() ** GAMMA
    return (hard * each * valid).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
