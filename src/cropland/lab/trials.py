"""Short trainings of small networks on real chips, the same chips in the same order for every contender."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from cropland.data import cut
from cropland.data.batches import Batch, Sampler, batches
from cropland.data.chips import ChipFolder, open_chips
from cropland.data.read_labels import LabelOptions
from cropland.demo import FIELDS, FOLDER, TILE
from cropland.lab.measure import on_device
from cropland.lab.number import Number, mean_of_seeds
from cropland.model import build_network
from cropland.recipe import Recipe, read_recipe
from cropland.training.objective import make_objective
from cropland.training.optimizer import make_optimizer, set_rate, update_average
from cropland.training.validate import validate

Change = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Trial:
    """One short training: validation IoU of the averaged weights at the end, loss and elapsed seconds per step."""

    iou: float
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    network: nn.Module


def small_recipe(*settings: str) -> Recipe:
    """The small recipe that ships, with settings such as `network.options.up=transposed` laid over it."""
    return read_recipe(FOLDER / "small.toml", settings)


@cache
def chip_folder(given: Path | None) -> ChipFolder:
    """The user's chip folder, or the fields of the sample tile, cut once; a quarter of it is for validation."""
    return open_chips(given) if given else open_chips(_sample_chips())


@cache
def _kept() -> TemporaryDirectory[str]:
    return TemporaryDirectory()  # removed when the interpreter ends


def _sample_chips() -> Path:
    out = Path(_kept().name) / "chips"
    labels = LabelOptions(labels=FIELDS, background="known")
    cut.command(TILE, labels=labels, size=128, side="validation=0.25", out=out)
    return out


def trial(
    recipe: Recipe, chips: ChipFolder, device: torch.device, *, seed: int, steps: int, change: Change | None = None
) -> Trial:
    """Train for so many steps; `change` may alter the network before the first."""
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed})})
    torch.manual_seed(seed)
    network = build_network(recipe)
    network = on_device(change(network) if change else network, device)
    average = copy.deepcopy(network)
    objective, optimizer = make_objective(recipe.loss), make_optimizer(network.train(), recipe.training)
    losses, seconds, begun = [], [], time.monotonic()
    for step, batch in enumerate(_stream(recipe, chips, steps)):
        set_rate(optimizer, recipe.training, step / steps)
        here = batch.to(device)
        loss = objective(network(here.image), here).mean()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.training.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        update_average(average, network, decay=recipe.training.ema, step=step)
        losses.append(float(loss.detach()))
        seconds.append(time.monotonic() - begun)
    score = validate(average, recipe, chips.where(split="validation"), None)
    return Trial(score.iou, tuple(losses), tuple(seconds), average)


def compare(
    recipes: Mapping[str, Recipe], chips: ChipFolder, device: torch.device, *, seeds: int, steps: int
) -> dict[str, list[Trial]]:
    """Train every contender with every seed, seed by seed."""
    done: dict[str, list[Trial]] = {name: [] for name in recipes}
    for seed in range(seeds):
        for name, recipe in recipes.items():
            done[name].append(trial(recipe, chips, device, seed=seed, steps=steps))
    return done


def gain(better: Sequence[Trial], than: Sequence[Trial]) -> Number:
    """The difference in IoU, paired by seed: mean and 95 % interval."""
    return mean_of_seeds([a.iou - b.iou for a, b in zip(better, than, strict=True)])


def _stream(recipe: Recipe, chips: ChipFolder, steps: int) -> Iterator[Batch]:
    """So many batches in a row, as one epoch."""
    longer = recipe.training.model_copy(update={"chips_per_epoch": steps * recipe.training.batch})
    sampler = Sampler(chips.where(split="train"), recipe.model_copy(update={"training": longer}))
    return batches(sampler, 0)
