"""What separable layers cost in accuracy: an ordinary U-Net, one half and one wholly separable, trained alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import nn

from cropland.data.chips import Chip, ChipFolder
from cropland.evaluation.judge import chip_probability, only_bands
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, mean_of_seeds, multiply_adds
from cropland.lab.trials import Trial, chip_folder, compare, gain, small_recipe
from cropland.recipe import Recipe
from cropland.training.validate import predictor

__all__ = ["separable_trained"]

Trials = Mapping[str, Sequence[Trial]]
ENCODER, DECODER = "network.options.encoder_options.convolution=separable", "network.options.convolution=separable"
NETWORKS = {"ordinary": (), "half separable": (DECODER,), "wholly separable": (ENCODER, DECODER)}
ORDINARY, HALF, WHOLE = NETWORKS


def separable_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Accuracy of both, then time."""
    keys = [f"separable_trained.{key}" for key in ("half", "whole", "time")]
    if not budget.seeds:
        yield from (Finding(key, missing="nothing is trained in a quick run") for key in keys)
        return
    recipes = {name: small_recipe(*settings) for name, settings in NETWORKS.items()}
    chips = chip_folder(budget.chips)
    trials = compare(recipes, chips, device, seeds=budget.seeds, steps=budget.steps)
    yield _half(keys[0], trials)
    yield _whole(keys[1], trials, recipes[ORDINARY], chips.where(split="validation"))
    yield _time(keys[2], trials, recipes[ORDINARY])


def _half(key: str, trials: Trials) -> Finding:
    bars = {name: mean_of_seeds([trial.iou for trial in its]) for name, its in trials.items()}
    numbers = {"difference": gain(trials[HALF], trials[ORDINARY]), "ordinary": bars[ORDINARY], "half": bars[HALF]}
    numbers["share"] = exactly(parameters(trials[HALF]) / parameters(trials[ORDINARY]))
    differences = {name: gain(trials[name], trials[ORDINARY]) for name in (HALF, WHOLE)}
    charts = (
        Bars("Validation IoU, mean over the seeds", "IoU", bars),
        Bars("Difference to the ordinary network, paired by seed", "IoU", differences, level=0.0),
    )
    return Finding(key, numbers, charts)


def _whole(key: str, trials: Trials, recipe: Recipe, chips: ChipFolder) -> Finding:
    numbers = {"difference": gain(trials[WHOLE], trials[ORDINARY]), "whole": _mean_iou(trials[WHOLE])}
    numbers["share"] = exactly(parameters(trials[WHOLE]) / parameters(trials[ORDINARY]))
    return Finding(key, numbers, (_learning(trials), _maps(trials, recipe, chips)))


def _mean_iou(trials: Sequence[Trial]) -> Number:
    return mean_of_seeds([trial.iou for trial in trials])


def parameters(trials: Sequence[Trial]) -> int:
    """Weights that are learnt."""
    return sum(weight.numel() for weight in trials[0].network.parameters())


def _learning(trials: Trials) -> Lines:
    """The loss on the way, averaged over ten steps."""
    steps = len(trials[ORDINARY][0].losses)
    ends = list(range(min(10, steps), steps + 1, min(10, steps)))
    curves = {
        name: [mean_of_seeds([fmean(trial.losses[end - ends[0] : end]) for trial in its]) for end in ends]
        for name, its in trials.items()
    }
    return Lines("Loss while training", "step", "loss", ends, curves)


def _maps(trials: Trials, recipe: Recipe, chips: ChipFolder) -> Panels:
    """The validation chip that is nearest to half cropland, as the networks of the first seed see it."""
    number = int((chips.index["share_cropland"] - 0.5).abs().to_numpy().argmin())
    chip = only_bands(chips.read(number), chips.bands, recipe.bands)
    pixel_m = recipe.validation.working_pixels[0]
    seen = {name: chip_probability(chip, predictor(its[0].network), pixel_m=pixel_m) for name, its in trials.items()}
    panels = [Panel(name, heat(levels, low=0, high=254)) for name, levels in seen.items()]
    given = (Panel("image", raster(_visible(chip))), Panel("cropland by hand", heat(chip.target == 1, low=0, high=1)))
    return Panels("Probability of cropland on a validation chip, first seed", [*given, *panels])


def _visible(chip: Chip) -> np.ndarray:
    """The chip in its first three bands, stretched as the networks see it."""
    low, high = (np.array(limits[:3], np.float32)[:, None, None] for limits in (chip.low, chip.high))
    shown: np.ndarray = (255 * ((chip.image.values[:3] - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return shown.transpose(1, 2, 0)


def _time(key: str, trials: Trials, recipe: Recipe) -> Finding:
    steps = {name: mean_of_seeds([its.seconds[-1] / len(its.seconds) for its in trials[name]]) for name in NETWORKS}
    millions = {name: exactly(work(its[0].network, recipe) / 1e6) for name, its in trials.items()}
    sizes = {name: exactly(parameters(its) / 1e3) for name, its in trials.items()}
    numbers = {"half": _faster(trials[HALF], trials[ORDINARY]), "whole": _faster(trials[WHOLE], trials[ORDINARY])}
    numbers["promised"] = exactly(millions[ORDINARY].value / millions[WHOLE].value)
    numbers["smaller"] = exactly(sizes[ORDINARY].value / sizes[WHOLE].value)
    charts = (
        Bars("Parameters", "thousand parameters", sizes),
        Bars("Multiply-adds of one crop", "million multiply-adds", millions),
        Bars("Time of a training step", "seconds", steps),
    )
    return Finding(key, numbers, charts)


def _faster(trials: Sequence[Trial], than: Sequence[Trial]) -> Number:
    return mean_of_seeds([b.seconds[-1] / a.seconds[-1] for a, b in zip(trials, than, strict=True)])


def work(network: nn.Module, recipe: Recipe) -> float:
    """Multiply-adds of one crop."""
    edge, device = recipe.sampling.crop, next(network.parameters()).device
    return multiply_adds(network.eval(), torch.zeros(1, len(recipe.bands), edge, edge, device=device))
