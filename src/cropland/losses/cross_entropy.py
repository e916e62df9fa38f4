"""Binary cross-entropy."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["cross_entropy"]


def cross_entropy(
    logit: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """Mean over valid pixels of -t log p - (1 - t) log(1 - p).

    Source: Good 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.
    """
    each = F.binary_cross_entropy_with_logits(logit, target, reduction="none") * valid
    return each.sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
