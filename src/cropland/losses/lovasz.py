"""Lovász hinge loss."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["lovasz"]


def lovasz(
    logit: Float[Tensor, "batch height width"],
    target: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, " batch"]:
    """The convex surrogate of 1 - IoU: hinge errors, sorted, weighed by what each adds to the Jaccard loss.

    Source: Berman, Rannen Triki and Blaschko 2018, arXiv:1705.08790.
    """
    chips = zip(logit, target, valid, strict=True)
    return torch.stack([_of_chip(chip[known], truth[known]) for chip, truth, known in chips])


def _of_chip(logit: Float[Tensor, " pixel"], target: Float[Tensor, " pixel"]) -> Float[Tensor, ""]:
    if logit.numel() == 0:
        return logit.sum()
    errors, order = (1 - logit * (2 * target - 1)).sort(descending=True, stable=True)
    truth = target[order]
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - (truth.sum() - truth.cumsum(0)) / union
    weights = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (errors.relu() * weights).sum()
