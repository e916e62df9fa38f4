"""The recipe's loss: a weighted sum of losses from the shelf, one value per chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from cropland.catalog import find
from cropland.data.batches import Batch
from cropland.errors import CroplandError
from cropland.language import _

Objective = Callable[[Tensor, Batch], Float[Tensor, " batch"]]


def make_objective(weights: Mapping[str, float], *, label_smoothing: float = 0.0) -> Objective:
    """A function of (logits, batch) that returns one loss per chip, from names and weights of the `losses` shelf.

    Smoothing s makes of the labels 0 and 1 s / 2 and 1 - s / 2 (Szegedy et al. 2016, arXiv:1512.00567).
    """
    terms = [(find("losses", name), weight) for name, weight in weights.items()]

    def objective(logits: Tensor, batch: Batch) -> Tensor:
        cropland = logits[:, 0].float()
        target = batch.target * (1 - label_smoothing) + label_smoothing / 2
        return torch.stack([weight * loss(cropland, target, batch.valid) for loss, weight in terms]).sum(0)

    return objective


def require_finite(losses: Float[Tensor, " batch"], chips: tuple[str, ...]) -> None:
    """Raise, naming the chips, if a loss is not finite."""
    bad = [chip for chip, loss in zip(chips, losses.tolist(), strict=True) if not abs(loss) < float("inf")]
    if bad:
        raise CroplandError(
            _(
                "the loss is not finite on chip {bad}; look at its values, or lower training.learning_rate",
                bad=", ".join(bad),
            )
        )
