"""What normalisation does to a training: the highest learning rate, steps to a loss, and small micro-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import torch

from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, mean_of_seeds, paired, quartiles
from cropland.lab.trials import Losses, batches_of, chip_folder, latest, retaken, short_recipe, steps_to, train
from cropland.training.validate import validate

__all__ = ["normalisation_trained", "normalisation_trained_micro"]

KINDS = {"no norm": "torch.nn:Identity", "batch norm": "batch_norm"}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
TARGET = 0.9  # of a coin toss's loss: below, something has been learnt
SHOWN = 3  # every so many steps are drawn
LOSS, LEVEL = "loss, in those of a coin toss", {"something is learnt": TARGET}

MICRO = (1, 2, 4, 8)
RATE = 0.003  # that of the small recipe


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


def normalisation_trained_micro(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Batch norm and channel norm against the micro-batch."""
    if not budget.seeds:
        yield Finding("normalisation_trained_micro.batch", missing="nothing is trained in a quick run")
        return
    chips = chip_folder(budget.chips).where(split="validation")
    micro = budget.sweep(MICRO)
    least, most = micro[0], micro[-1]
    # Accumulation is exact for channel norm: the ends show it.
    tried = {"channel norm": {least, most}, "batch norm": micro}
    kept: dict[str, dict[int, list[float]]] = {name: {size: [] for size in sizes} for name, sizes in tried.items()}
    again: dict[int, list[float]] = {size: [] for size in micro}
    for seed in range(budget.seeds):
        data = batches_of(budget.chips, seed, max(1, budget.steps // 4))
        for name, sizes in tried.items():
            recipe = short_recipe(name.replace(" ", "_"), RATE, seed)
            for size in sizes:
                network, _ = train(recipe, data, device, micro=size)
                kept[name][size].append(validate(network, recipe, chips, None).iou)
                if name == "batch norm":
                    again[size].append(validate(retaken(network, data, device), recipe, chips, None).iou)
    drops = {"channel": kept["channel norm"], "kept": kept["batch norm"], "drop": again}
    numbers = {key: paired(by_size[most], by_size[least]) for key, by_size in drops.items()}
    numbers["better"] = paired(kept["channel norm"][least], again[least])
    known = {**kept, "batch norm, statistics taken again": again}
    curves = {n: [mean_of_seeds(its[size]) if size in its else None for size in micro] for n, its in known.items()}
    picture = Lines(
        "Validation IoU against the micro-batch, 8 chips a step", "micro-batch", "IoU", micro, curves, log_x=True
    )
    yield Finding("normalisation_trained_micro.batch", numbers, [picture])
