"""Memory for two chips only: a small batch, the large one in parts, or the large one where there is memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cropland.lab.charts import Bars
from cropland.lab.claim import Finding
from cropland.lab.experiments.batch_trained import paired, run
from cropland.lab.measure import Budget, mean_of_seeds

__all__ = ["batch_trained_memory"]

SIZE, PART = 16, 2
WAYS = {
    "large": "large batch on the CPU",
    "parts": "accumulation, batch norm",
    "channel": "accumulation, channel norm",
    "small": "small batch",
}


def batch_trained_memory(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """IoU and time of each way."""
    if not budget.seeds:
        yield Finding("batch_trained_memory.ways", missing="nothing is trained in a quick run")
        return
    cpu, seeds = torch.device("cpu"), range(budget.seeds)
    runs = {
        "large": [run(SIZE, seed, cpu, budget) for seed in seeds],
        "parts": [run(SIZE, seed, device, budget, micro=PART) for seed in seeds],
        "channel": [run(SIZE, seed, device, budget, micro=PART, norm="channel_norm") for seed in seeds],
        "small": [run(PART, seed, device, budget) for seed in seeds],
    }
    ious = {way: mean_of_seeds([one.iou for one in each]) for way, each in runs.items()}
    seconds = {way: mean_of_seeds([one.seconds for one in each]) for way, each in runs.items()}
    numbers = {
        "gain": paired(runs["parts"], runs["small"], "iou"),
        "short": paired(runs["large"], runs["parts"], "iou"),
        **{f"{way}_iou": iou for way, iou in ious.items()},
        **{f"{way}_s": mean for way, mean in seconds.items()},
    }
    pictures = [
        Bars("Validation IoU after the same chips", "IoU", {WAYS[way]: iou for way, iou in ious.items()}),
        Bars("Time for the same chips", "seconds", {WAYS[way]: mean for way, mean in seconds.items()}),
    ]
    yield Finding("batch_trained_memory.ways", numbers, pictures)
