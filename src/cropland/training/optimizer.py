"""Optimization: the objective, AdamW with its schedule, one step, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find
from cropland.data.batches import Batch
from cropland.errors import CroplandError
from cropland.recipe import Precision, Recipe, Training
from cropland.training.memory import autocast

Objective = Callable[[Tensor, Batch], Float[Tensor, " batch"]]


def make_objective(
    loss: Mapping[str, float], *, boundary: float | None = None, label_smoothing: float = 0.0
) -> Objective:
    """A function of (logits, batch) that returns one loss per chip, from names and weights of the `losses` shelf.

    boundary: the weight of the loss of the second output, if there is one. Label smoothing s turns the labels 0 and 1
    into s / 2 and 1 - s / 2 (Szegedy et al. 2016, arXiv:1512.00567).
    """
    terms = [(find("losses", name), weight) for name, weight in loss.items()]
    outputs = (1.0,) if boundary is None else (1.0, boundary)

    def objective(logits: Tensor, batch: Batch) -> Tensor:
        target = batch.target * (1 - label_smoothing) + label_smoothing / 2
        return torch.stack(
            [
                share * weight * each(logits[:, channel].float(), target[:, channel], batch.valid[:, channel])
                for channel, share in enumerate(outputs)
                for each, weight in terms
            ]
        ).sum(0)

    return objective


def recipe_objective(recipe: Recipe) -> Objective:
    """The objective of a recipe."""
    boundary = recipe.boundary.weight if "boundary" in recipe.outputs else None
    return make_objective(recipe.loss, boundary=boundary, label_smoothing=recipe.training.label_smoothing)


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, or on norms and biases too; the encoder at its own multiple of the rate.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in network.named_parameters():
        scale = training.encoder_rate if name.startswith("encoder.") else 1.0
        decay = training.weight_decay if training.decay_all or weight.dim() > 1 else 0.0
        groups.setdefault((scale, decay), []).append(weight)
    return torch.optim.AdamW(
        [{"params": weights, "scale": scale, "weight_decay": decay} for (scale, decay), weights in groups.items()],
        lr=training.learning_rate,
    )


def set_rate(optimizer: torch.optim.Optimizer, training: Training, progress: float) -> float:
    """Set and return the learning rate at `progress` 0..1: linear warm-up, then half a cosine to zero, or constant.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983; the warm-up Goyal et al. 2017, arXiv:1706.02677.
    """
    if progress < training.warmup:
        factor = progress / training.warmup
    elif training.schedule == "constant":
        factor = 1.0
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (progress - training.warmup) / (1 - training.warmup + 1e-9)))
    rate = training.learning_rate * max(factor, 1e-3)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def take_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    *,
    micro: int | None = None,
    clip: float = 0.0,
    precision: Precision = "float32",
) -> tuple[Float[Tensor, " batch"], Float[Tensor, ""]]:
    """Take one step by the gradient of the mean loss over the batch; returns the losses and the norm of the gradient.

    micro: chips that are in memory at a time, all if not given; the result depends on it only by rounding and the
    statistics of batch normalisation. clip: the largest norm of the gradient; 0 for no limit.
    """
    losses = accumulate(network, batch, objective, micro=micro or len(batch.image), precision=precision)
    norm = nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return losses, norm


def accumulate(
    network: nn.Module, batch: Batch, objective: Objective, *, micro: int, precision: Precision = "float32"
) -> Float[Tensor, " batch"]:
    """Add the gradient of the mean loss over the batch to the weights', `micro` chips at a time; returns the losses."""
    losses = []
    for start in range(0, len(batch.image), micro):
        part = batch.part(start, start + micro)
        with autocast(part.image.device, precision):
            logits = network(part.image)
        loss = objective(logits, part)
        torch.autograd.backward(loss.sum() / len(batch.image))
        losses.append(loss.detach())
    return torch.cat(losses)


def require_finite(losses: Float[Tensor, " batch"], chips: tuple[str, ...]) -> None:
    """Raise, naming the chips, if a loss is not finite."""
    bad = [chip for chip, loss in zip(chips, losses.tolist(), strict=True) if not abs(loss) < float("inf")]
    if bad:
        raise CroplandError(
            "the loss is not finite on chip {bad}; look at its values, or lower training.learning_rate",
            bad=", ".join(bad),
        )


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Update the moving average of weights and statistics; early steps are averaged over fewer steps.

    Source: Polyak and Juditsky 1992, doi:10.1137/0330046.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)
