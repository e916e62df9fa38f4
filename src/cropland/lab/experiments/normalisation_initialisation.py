"""How much the scale of the first weights matters, with and without normalisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

import torch
from torch import nn

from cropland.data.batches import Batch, Sampler, batches
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.experiments.normalisation_gradients import NORMS, small_unet
from cropland.lab.measure import Budget, quartiles
from cropland.lab.trials import chip_folder, small_recipe
from cropland.recipe import Recipe
from cropland.training.objective import make_objective

__all__ = ["normalisation_initialisation"]

SCALES = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0)
DRAWS = 3  # of the first weights
STEPS = 8
CROP = 48  # pixels
LEARNT = 0.9  # of a coin toss's loss: below, something has been learnt
CEILING = 10.0  # a loss of more coin tosses, or none at all, is drawn there


def normalisation_initialisation(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Dependence on the first weights."""
    scales = budget.sweep(SCALES)
    recipe = small_recipe(f"sampling.crop={CROP}", "training.batch=4")
    batch = next(batches(Sampler(chip_folder(budget.chips).where(split="train"), recipe), 0)).to(device)
    left = {
        name: [[left_over(norm, batch, recipe, scale=scale, seed=seed) for scale in scales] for seed in range(DRAWS)]
        for name, norm in NORMS.items()
    }
    curves = {name: [quartiles(values) for values in zip(*by_seed, strict=True)] for name, by_seed in left.items()}
    numbers = {}
    for name, by_seed in left.items():
        key = name.replace(" ", "_")
        numbers[f"evenness_{key}"] = quartiles(evenness(values) for values in by_seed)
        numbers[f"learns_{key}"] = quartiles(fmean(value <= LEARNT for value in values) for values in by_seed)
    picture = Lines(
        f"Loss after {STEPS} steps against the scale of the first weights",
        "first weights times",
        "loss, in those of a coin toss",
        scales,
        curves,
        levels={"a coin toss": 1.0},
        log_x=True,
        log_y=True,
    )
    yield Finding("normalisation_initialisation.scale", numbers, [picture])


def left_over(norm: str, batch: Batch, recipe: Recipe, *, scale: float, seed: int) -> float:
    """The loss that a few steps on one batch leave, as a share of that of logits of zero, at most `CEILING`.

    All weights of the U-Net's convolutions start `scale` times as large as PyTorch draws them.
    """
    network = scaled(small_unet(norm, seed, batch.image.device), scale)
    objective = make_objective(recipe.loss)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.training.learning_rate)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(objective(network(batch.image), batch).mean())
        optimizer.step()
    with torch.no_grad():
        coin, loss = (
            objective(y, batch).mean() for y in (torch.zeros_like(batch.target)[:, None], network(batch.image))
        )
    return min(float(loss.nan_to_num(math.inf) / coin), CEILING)


@torch.no_grad()
def scaled(network: nn.Module, scale: float) -> nn.Module:
    """The same network, every convolution's weights times `scale`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(scale)
    return network


def evenness(left: Sequence[float]) -> float:
    """How far the loss fell at the worst of several scales, as a share of how far it fell at the best one; 0 to 1."""
    return max(0.0, 1 - max(left)) / max(1 - min(left), 1e-9)
