"""Boundary loss."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["boundary"]

TOLERANCE = 5  # pixels, the window within which boundaries may meet


def boundary(
    logit: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """1 - F1 of the boundaries of mask and label, soft, within a tolerance of 2 pixels.

    A boundary is what a 3 x 3 erosion takes away. A chip without a boundary in its label has loss 0: there is nothing
    to meet.
    Source: Bokhovkin and Burnaev 2019, arXiv:1905.07852.
    """
    known = valid.to(logit.dtype)
    # Unknown pixels take the label's side in both, so that no boundary arises along them.
    found = _edge(logit.sigmoid() * known)
    true = _edge(target * known)
    inside = 1 - F.max_pool2d((1 - known)[:, None], 3, stride=1, padding=1)[:, 0]
    found, true = found * inside, true * inside
    precision = _share(found, _widen(true))
    recall = _share(true, _widen(found))
    f1 = 2 * precision * recall / (precision + recall + 1e-7)
    return (1 - f1) * (true.sum((1, 2)) > 0)


def _edge(mask: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    other = (1 - mask)[:, None]
    return (F.max_pool2d(other, 3, stride=1, padding=1) - other)[:, 0]


def _widen(edge: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    return F.max_pool2d(edge[:, None], TOLERANCE, stride=1, padding=TOLERANCE // 2)[:, 0]


def _share(
    edge: Float[Tensor, "batch height width"], near: Float[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    return (edge * near).sum((1, 2)) / (edge.sum((1, 2)) + 1e-7)
