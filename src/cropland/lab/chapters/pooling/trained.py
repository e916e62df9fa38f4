"""Whether pooling can be left out of the residual network: a strided convolution in its place, trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor

from cropland.data.chips import ChipFolder
from cropland.evaluation.boundary import boundary_counts, boundary_f1
from cropland.evaluation.counts import UNKNOWN, best_threshold, histogram
from cropland.evaluation.judge import chip_probability, only_bands
from cropland.lab import sample_tile
from cropland.lab.chapters.pooling.shift import MODEL_MARGIN, moved_masks, shifted
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, mean_of_seeds, paired
from cropland.lab.trials import Trial, chip_folder, compare, gain, small_recipe
from cropland.recipe import Recipe
from cropland.training.validate import predictor

__all__ = ["pooling_trained"]

DOWNS = {"max pooling": "max_pool", "average pooling": "average_pool", "strided convolution": "strided"}
MAX, AVERAGE, STRIDED = DOWNS
SHIFTS = range(9)
WORKING_PIXELS = 2  # a boundary within so many of them is found


class Edges(NamedTuple):
    """Boundary F1 of a trained network on the validation chips, at the threshold that is best there."""

    f1: float
    threshold: float


def pooling_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Map, boundaries and steadiness of three ways to halve."""
    if not budget.seeds:
        for claim in ("dispensable", "boundaries", "shift"):
            yield Finding(f"pooling_trained.{claim}", missing="nothing is trained in a quick run")
        return
    recipes = {name: resunet(down) for name, down in DOWNS.items()}
    chips = chip_folder(budget.chips)
    trials = compare(recipes, chips, device, seeds=budget.seeds, steps=budget.steps)
    yield _dispensable(trials)
    checked = chips.where(split="validation")
    edges = {name: [judge(trial, recipes[name], checked) for trial in its] for name, its in trials.items()}
    yield _boundaries(edges, tolerance_m=_tolerance_m(recipes[MAX], checked))
    yield _shift(trials, edges, budget)


def resunet(down: str) -> Recipe:
    """The small recipe with a residual network that halves by this block."""
    return small_recipe("network.name=resunet", f"network.options.encoder_options.down={down}")


def _dispensable(trials: dict[str, list[Trial]]) -> Finding:
    sizes = {name: sum(weight.numel() for weight in its[0].network.parameters()) for name, its in trials.items()}
    numbers = {
        "gain_strided": gain(trials[STRIDED], trials[MAX]),
        "gain_average": gain(trials[AVERAGE], trials[MAX]),
        "iou": mean_of_seeds([trial.iou for trial in trials[MAX]]),
        "parameters": exactly(sizes[STRIDED] / sizes[MAX]),
        "slower": mean_of_seeds(
            [a.seconds[-1] / b.seconds[-1] for a, b in zip(trials[STRIDED], trials[MAX], strict=True)]
        ),
    }
    bars = {name: mean_of_seeds([trial.iou for trial in its]) for name, its in trials.items()}
    charts = (Bars("Validation IoU, mean over the seeds", "IoU", bars), _learning(trials))
    return Finding("pooling_trained.dispensable", numbers, charts)


def _learning(trials: dict[str, list[Trial]]) -> Lines:
    """The loss on the way, over ten steps and all seeds."""
    steps = len(trials[MAX][0].losses)
    ends = range(min(10, steps), steps + 1, min(10, steps))
    curves = {name: [_loss(its, end - ends.step, end) for end in ends] for name, its in trials.items()}
    return Lines("Loss while training", "step", "loss", list(ends), curves)


def _loss(trials: Sequence[Trial], first: int, end: int) -> Number | None:
    return mean_of_seeds([fmean(trial.losses[first:end]) for trial in trials])


def _boundaries(edges: Mapping[str, Sequence[Edges]], *, tolerance_m: float) -> Finding:
    found = {name: [each.f1 for each in its] for name, its in edges.items()}
    numbers = {
        "gain_strided": paired(found[STRIDED], found[MAX]),
        "gain_average": paired(found[AVERAGE], found[MAX]),
        "f1": mean_of_seeds(found[MAX]),
        "metres": exactly(tolerance_m),
    }
    bars = {name: mean_of_seeds(its) for name, its in found.items()}
    chart = Bars("Boundary F1 on the validation chips, mean over the seeds", "boundary F1", bars)
    return Finding("pooling_trained.boundaries", numbers, [chart])


def judge(trial: Trial, recipe: Recipe, chips: ChipFolder) -> Edges:
    """The threshold that is best for the IoU over the chips, and the boundary F1 there, pooled."""
    pixel_m, predict = recipe.validation.working_pixels[0], predictor(trial.network)
    read = [only_bands(chips.read(number), chips.bands, recipe.bands) for number in range(len(chips))]
    levels = [chip_probability(chip, predict, pixel_m=pixel_m) for chip in read]
    seen = list(zip(levels, read, strict=True))
    threshold = best_threshold(np.sum([histogram(level, chip.target) for level, chip in seen], 0))
    tolerances_m = [_tolerance_m(recipe, chips)]
    counts = np.zeros((1, 6))
    for level, chip in seen:
        said = np.where(level == UNKNOWN, UNKNOWN, level / 254 >= threshold).astype(np.uint8)
        size = (chip.pixel_m, chip.pixel_m)
        counts += boundary_counts(said, chip.target, pixel_m=size, tolerances_m=tolerances_m)
    return Edges(float(boundary_f1(counts)[0]), threshold)


def _shift(trials: dict[str, list[Trial]], edges: Mapping[str, Sequence[Edges]], budget: Budget) -> Finding:
    images = shifted(sample_tile.normalised(), budget.size + 2 * MODEL_MARGIN, SHIFTS)
    shares = {
        name: [_changed(trial, images, edge.threshold) for trial, edge in zip(its, edges[name], strict=True)]
        for name, its in trials.items()
    }
    worst = {name: [float(each.max()) for each in its] for name, its in shares.items()}
    numbers = {
        key: mean_of_seeds(worst[name])
        for key, name in zip(("changed_max", "changed_average", "changed_strided"), DOWNS, strict=True)
    }
    numbers["max_less_strided"] = paired(worst[MAX], worst[STRIDED])
    curves = {name: [mean_of_seeds(list(column)) for column in np.transpose(its)] for name, its in shares.items()}
    chart = Lines("Pixels of the trained map that change sides", "shift in pixels", "share", list(SHIFTS[1:]), curves)
    return Finding("pooling_trained.shift", numbers, [chart])


def _changed(trial: Trial, images: Tensor, threshold: float) -> np.ndarray:
    """The share of pixels that are decided otherwise when the window begins 1 to 8 pixels further right."""
    masks = moved_masks(trial.network, images, SHIFTS, limit=float(logit(threshold)))
    shares: np.ndarray = (masks[1:] != masks[0]).mean((1, 2))
    return shares


def _tolerance_m(recipe: Recipe, chips: ChipFolder) -> float:
    """Two working pixels, or two of the chips' own where those are larger."""
    return WORKING_PIXELS * max(*recipe.validation.working_pixels, *map(float, chips.index["pixel_m"]))
