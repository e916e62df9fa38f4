"""What small micro-batches do to batch norm and to channel norm, the optimizer's batch kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, mean_of_seeds
from cropland.lab.trials import batches_of, chip_folder, retaken, short_recipe, train
from cropland.training.validate import validate

__all__ = ["normalisation_trained_micro"]

MICRO = (1, 2, 4, 8)
RATE = 0.003  # that of the small recipe


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
    numbers = {key: _difference(by_size[most], by_size[least]) for key, by_size in drops.items()}
    numbers["better"] = _difference(kept["channel norm"][least], again[least])
    known = {**kept, "batch norm, statistics taken again": again}
    curves = {n: [mean_of_seeds(its[size]) if size in its else None for size in micro] for n, its in known.items()}
    picture = Lines(
        "Validation IoU against the micro-batch, 8 chips a step", "micro-batch", "IoU", micro, curves, log_x=True
    )
    yield Finding("normalisation_trained_micro.batch", numbers, [picture])


def _difference(better: Sequence[float], than: Sequence[float]) -> Number:
    return mean_of_seeds([a - b for a, b in zip(better, than, strict=True)])
