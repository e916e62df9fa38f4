"""Trainings of a minute at a constant rate on batches made beforehand, cut into micro-batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from cropland.data.batches import Batch, Sampler, batches
from cropland.lab.trials import chip_folder, small_recipe
from cropland.model import build_network
from cropland.recipe import Recipe
from cropland.training.memory import place_network
from cropland.training.optimizer import make_objective, make_optimizer

CEILING = 3.0  # coin tosses; a loss above, or none at all, counts as that
WINDOW = 8  # steps that a loss is averaged over
LATEST = 8  # batches that the statistics are taken from again
Losses = tuple[float, ...]


def short_recipe(norm: str, rate: float, seed: int) -> Recipe:
    """The small recipe, narrower and on smaller crops."""
    widths = ("network.options.width=8", "network.options.encoder_options.width=8", "sampling.crop=64")
    return small_recipe(
        f"network.options.norm={norm}", f"training.learning_rate={rate}", f"training.seed={seed}", *widths
    )


@cache
def batches_of(chips: Path | None, seed: int, steps: int) -> tuple[Batch, ...]:
    """The same chips in the same order for every contender."""
    recipe = short_recipe("batch_norm", 0.01, seed)
    longer = recipe.training.model_copy(update={"chips_per_epoch": steps * recipe.training.batch})
    sampler = Sampler(chip_folder(chips).where(split="train"), recipe.model_copy(update={"training": longer}))
    return tuple(batches(sampler, 0))


def train(recipe: Recipe, data: Sequence[Batch], device: torch.device, *, micro: int = 8) -> tuple[nn.Module, Losses]:
    """Train at a constant rate, `micro` chips at a time; the losses are shares of a coin toss's, at most `CEILING`."""
    torch.manual_seed(recipe.training.seed)
    network = place_network(build_network(recipe), device).train()
    objective, optimizer = make_objective(recipe.loss), make_optimizer(network, recipe.training)
    losses = []
    for batch in data:
        here, total = batch.to(device), 0.0
        for start in range(0, len(here.image), micro):
            part = here.part(start, start + micro)
            loss = objective(network(part.image), part).sum() / len(here.image)
            torch.autograd.backward(loss)
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(network.parameters(), recipe.training.clip)
        optimizer.step()
        optimizer.zero_grad()
        coin = float(objective(torch.zeros_like(here.target)[:, None], here).mean())
        losses.append(min(total / coin, CEILING) if math.isfinite(total) else CEILING)
    return network, tuple(losses)


def steps_to(losses: Losses, target: float) -> int:
    """The first step at which the mean of the latest losses is at the target; all steps where that never is."""
    return next((step for step, mean in enumerate(latest(losses), 1) if mean <= target), len(losses))


def latest(losses: Losses) -> list[float]:
    """At every step the mean of the latest losses."""
    return [fmean(losses[max(0, step - WINDOW) : step]) for step in range(1, len(losses) + 1)]


@torch.no_grad()
def retaken(network: nn.Module, data: Sequence[Batch], device: torch.device) -> nn.Module:
    """A copy whose running statistics are the plain mean over the latest batches, whole."""
    other = copy.deepcopy(network).train()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for batch in data[-LATEST:]:
        other(batch.to(device).image)
    return other
