"""What normalisation does to a training: the highest learning rate, steps to a loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from cropland.data.batches import Batch, Sampler, batches
from cropland.lab.budget import Budget
from cropland.lab.charts import Lines
from cropland.lab.finding import Finding
from cropland.lab.measure import on_device
from cropland.lab.number import Number, exactly, mean_of_seeds, quartiles
from cropland.lab.trials import chip_folder, small_recipe
from cropland.model import build_network
from cropland.recipe import Recipe
from cropland.training.objective import make_objective
from cropland.training.optimizer import make_optimizer

__all__ = ["normalisation_trained"]

KINDS = {"no norm": "torch.nn:Identity", "batch norm": "batch_norm"}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
TARGET = 0.9  # of a coin toss's loss: below, something has been learnt
WINDOW = 8  # steps that a loss is averaged over
SHOWN = 3  # every so many steps are drawn
CEILING = 3.0  # coin tosses; a loss above, or none at all, is drawn there
LOSS, LEVEL = "loss, in those of a coin toss", {"something is learnt": TARGET}

Losses = tuple[float, ...]


def normalisation_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Highest learning rate, steps to a loss."""
    if not budget.seeds:
        for claim in ("rate", "steps"):
            yield Finding(f"normalisation_trained.{claim}", missing="nothing is trained in a quick run")
        return
    rates = budget.sweep(RATES)
    runs = {name: {rate: _runs(norm, rate, device, budget) for rate in rates} for name, norm in KINDS.items()}
    yield _rate(runs)
    yield _steps(runs)


def _runs(norm: str, rate: float, device: torch.device, budget: Budget) -> list[Losses]:
    data = (batches_of(budget.chips, seed, max(1, budget.steps // 4)) for seed in range(budget.seeds))
    return [train(short_recipe(norm, rate, seed), each, device)[1] for seed, each in enumerate(data)]


def _rate(runs: Mapping[str, Mapping[float, Sequence[Losses]]]) -> Finding:
    rates = list(runs["no norm"])
    curves = {
        name: [quartiles(last(losses) for losses in by_rate[rate]) for rate in rates] for name, by_rate in runs.items()
    }
    seeds = range(len(runs["no norm"][rates[0]]))
    logs = {name: [math.log(highest(by_rate, seed)) for seed in seeds] for name, by_rate in runs.items()}
    higher = [a - b for a, b in zip(logs["batch norm"], logs["no norm"], strict=True)]
    numbers = {"times_the_rate": _raised(mean_of_seeds(higher))}
    numbers |= {name.replace(" ", "_"): _raised(mean_of_seeds(found)) for name, found in logs.items()}
    title = "Loss at the end of a short training against its learning rate"
    picture = Lines(title, "learning rate", LOSS, rates, curves, levels=LEVEL, log_x=True)
    return Finding("normalisation_trained.rate", numbers, [picture])


def last(losses: Losses) -> float:
    """The mean of the last steps."""
    return latest(losses)[-1]


def highest(by_rate: Mapping[float, Sequence[Losses]], seed: int) -> float:
    """The highest rate at which this seed learns; half a decade below the lowest where there is none."""
    return max((rate for rate, runs in by_rate.items() if last(runs[seed]) <= TARGET), default=min(by_rate) / 10**0.5)


def _raised(logarithm: Number) -> Number:
    return Number(*(math.exp(min(end, 99.0)) for end in (logarithm.value, logarithm.low, logarithm.high)))


def _steps(runs: Mapping[str, Mapping[float, Sequence[Losses]]]) -> Finding:
    best = {name: min(by_rate, key=lambda rate: fmean(map(last, by_rate[rate]))) for name, by_rate in runs.items()}
    chosen = {name: runs[name][rate] for name, rate in best.items()}
    taken = {name: [steps_to(losses, TARGET) for losses in each] for name, each in chosen.items()}
    more = [math.log(a / b) for a, b in zip(taken["no norm"], taken["batch norm"], strict=True)]
    numbers = {"times_the_steps": _raised(mean_of_seeds(more))}
    for name, steps in taken.items():
        key = name.replace(" ", "_")
        numbers |= {key: mean_of_seeds(steps), f"{key}_rate": exactly(best[name])}
    smooth = {name: zip(*map(latest, each), strict=True) for name, each in chosen.items()}
    curves = {name: [quartiles(values) for values in each][::SHOWN] for name, each in smooth.items()}
    at = [1.0 + SHOWN * step for step in range(len(curves["no norm"]))]
    title = "Loss by step, each at its own best learning rate"
    picture = Lines(title, "step", LOSS, at, curves, levels=LEVEL)
    return Finding("normalisation_trained.steps", numbers, [picture])


def steps_to(losses: Losses, target: float) -> int:
    """The first step at which the mean of the latest losses is at the target; all steps where that never is."""
    return next((step for step, mean in enumerate(latest(losses), 1) if mean <= target), len(losses))


def latest(losses: Losses) -> list[float]:
    """At every step the mean of the latest losses."""
    return [fmean(losses[max(0, step - WINDOW) : step]) for step in range(1, len(losses) + 1)]


def train(recipe: Recipe, data: Sequence[Batch], device: torch.device, *, micro: int = 8) -> tuple[nn.Module, Losses]:
    """Train at a constant rate, `micro` chips at a time; the losses are shares of a coin toss's, at most `CEILING`."""
    torch.manual_seed(recipe.training.seed)
    network = on_device(build_network(recipe), device).train()
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
