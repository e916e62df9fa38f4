"""How far a training has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from cropland.training.validate import Score


@dataclass(frozen=True)
class Place:
    """How far a run has come: the next epoch and step, the loss summed within the epoch, the best weights so far."""

    epoch: int
    step: int
    loss: float
    best_epoch: int
    best_score: float
    best: Mapping[str, Tensor]

    def at(self, *, epoch: int, step: int, loss: float) -> Place:
        """Within an epoch."""
        return Place(epoch, step, loss, self.best_epoch, self.best_score, self.best)

    def after(self, epoch: int, score: Score, average: nn.Module) -> Place:
        """After an epoch, with its weights if they are the best."""
        if score.iou > self.best_score:
            weights = {name: value.clone() for name, value in average.state_dict().items()}
            return Place(epoch + 1, 0, 0.0, epoch, score.iou, weights)
        return Place(epoch + 1, 0, 0.0, self.best_epoch, self.best_score, self.best)
