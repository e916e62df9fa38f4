"""What a pyramid of rates adds to a trained network, and whether its rates fit the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from cropland.data.batches import Batch, Sampler, batches
from cropland.lab.chapters.atrous.field import edge
from cropland.lab.charts import Bars, Lines, Panel, Panels, heat
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, mean_of_seeds
from cropland.lab.trials import Trial, chip_folder, compare, gain, small_recipe
from cropland.recipe import Recipe

__all__ = ["atrous_trained"]

CROP, STRIDE, TILE_STRIDE = 96, 8, 16  # the stride of the network trained here, and of the networks that map
SEVERAL, SAME, PAPER = (1, 2, 4), (1, 1, 1), (6, 12, 18)
MAPS = {"map of 6 pixels": 6, "map of 12 pixels": 12, "map of 32 pixels": 32, "map of 64 pixels": 64}


def atrous_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Taps beyond the map; IoU with several rates, one rate, and the paper's."""
    yield _fit()
    yield _gain(device, budget)


def _fit() -> Finding:
    rates = (1, 2, 4, 6, 8, 12, 18, 24)
    curves = {name: [exactly(inside((rate,), length)) for rate in rates] for name, length in MAPS.items()}
    numbers = {
        "small": exactly(inside(PAPER, CROP // STRIDE)),
        "fitting": exactly(inside(SEVERAL, CROP // STRIDE)),
        "tile": exactly(inside(PAPER, 1024 // TILE_STRIDE)),
        "crop": exactly(CROP),
        "map": exactly(CROP // STRIDE),
    }
    lines = Lines("Outer taps that lie within the map", "rate", "share", rates, curves)
    return Finding("atrous_trained.fit", numbers, [lines])


def inside(rates: Sequence[int], length: int) -> float:
    """The mean share of the eight outer taps of each rate that lie within a square map, over its pixels."""
    ones, kernel = torch.ones(1, 1, length, length), torch.ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 0
    seen = [F.conv2d(ones, kernel, padding=rate, dilation=rate).mean() / 8 for rate in rates]
    return float(torch.stack(seen).mean())


def _gain(device: torch.device, budget: Budget) -> Finding:
    if not budget.seeds:
        return Finding("atrous_trained.gain", missing="nothing is trained in a quick run")
    chips = chip_folder(budget.chips)
    recipes = {named(rates): recipe(rates) for rates in (SEVERAL, SAME, PAPER)}
    done = compare(recipes, chips, device, seeds=budget.seeds, steps=budget.steps)
    several, same, paper = done.values()
    few = Sampler(chips.where(split="validation"), recipe(SAME))
    batch = next(iter(islice(batches(few, 0), 1))).to(device)
    fields = {name: [_squared_gradient(trial, batch) for trial in its] for name, its in done.items()}
    edges = {name: mean_of_seeds([edge(one) for one in its]) for name, its in fields.items()}
    numbers = {
        "gain": gain(several, same),
        "gain_paper": gain(paper, same),
        "iou": mean_of_seeds([trial.iou for trial in same]),
        "field": edges[named(SEVERAL)],
        "field_same": edges[named(SAME)],
        "parameters": exactly(sum(weight.numel() for weight in same[0].network.parameters())),
    }
    pictures = (
        Bars(
            "Gain over a pyramid of rate 1, paired by seed", "IoU", {n: gain(its, same) for n, its in _but(done, SAME)}
        ),
        Bars(
            "IoU after training",
            "IoU",
            {name: mean_of_seeds([trial.iou for trial in its]) for name, its in done.items()},
        ),
        Panels(
            "Which input pixels move the middle of the trained map",
            [Panel(name, heat(torch.stack(its).mean(0).sqrt().numpy(), low=0)) for name, its in fields.items()],
        ),
    )
    return Finding("atrous_trained.gain", numbers, pictures)


def named(rates: Sequence[int]) -> str:
    """As pictures name it."""
    return f"rates {', '.join(map(str, rates))}"


def recipe(rates: Sequence[int]) -> Recipe:
    """A small DeepLabV3+ of stride 8 on pixels of 1 m; parameters and arithmetic are the same at all rates."""
    encoder = "encoder_options = { width = 12, depth = 3 }"
    options = f'width = 24, rates = {list(rates)}, convolution = "convolution", {encoder}'
    return small_recipe(
        "network.name=deeplab_v3_plus",
        f"network.options={{ {options} }}",
        f"sampling.crop={CROP}",
        "sampling.scale=[0.75, 1.25]",
        "validation.working_pixels=[1.0]",
    )


def _but(done: dict[str, list[Trial]], rates: Sequence[int]) -> list[tuple[str, list[Trial]]]:
    return [(name, its) for name, its in done.items() if name != named(rates)]


def _squared_gradient(trial: Trial, batch: Batch) -> Tensor:
    """Of the middle logit by each input pixel, mean over chips and bands, (row, column) about the middle."""
    image, middle = batch.image.clone().requires_grad_(), CROP // 2
    logit = trial.network.eval()(image)[:, 0, middle, middle].sum()
    (gradient,) = torch.autograd.grad(logit, image)
    return gradient.square().mean((0, 1))[1:, 1:].double().cpu()
