"""The same chips in batches of several sizes: accuracy, speed, oscillation; and where memory holds two chips only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import stdev

import torch

from cropland.data.batches import Batch
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, mean_of_seeds, paired
from cropland.lab.trials import batches_of, chip_folder, retaken, short_recipe, steps_to, train
from cropland.training.validate import validate

__all__ = ["batch_trained", "batch_trained_memory"]

CLAIMS = ("accuracy", "speed", "oscillation")
SIZES = (2, 4, 8, 16)
RATE, MIDDLE = 0.01, 8  # the learning rate, and the batch that it is for
TARGET = 0.9  # of a coin toss's loss

SIZE, PART = 16, 2
WAYS = {
    "large": "large batch on the CPU",
    "parts": "accumulation, batch norm",
    "channel": "accumulation, channel norm",
    "small": "small batch",
}


@dataclass(frozen=True)
class Epoch:
    """One training over all chips once: IoU, losses, seconds, and chips seen until the loss was at the target."""

    iou: float
    losses: Sequence[float]
    seconds: float
    chips_to_target: int


def batch_trained(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Accuracy, speed and oscillation at the same number of chips."""
    if not budget.seeds:
        yield from (Finding(f"batch_trained.{each}", missing="nothing is trained in a quick run") for each in CLAIMS)
        return
    sizes = budget.sweep(SIZES)
    runs = {size: [run(size, seed, device, budget) for seed in range(budget.seeds)] for size in sizes}
    yield _accuracy(runs)
    yield _speed(runs)
    yield _oscillation(runs)


def run(
    size: int, seed: int, device: torch.device, budget: Budget, *, micro: int = 64, norm: str = "batch_norm"
) -> Epoch:
    data = regrouped(batches_of(budget.chips, seed, max(2, budget.steps // 4)), size)
    recipe, begun = short_recipe(norm, RATE * (size / MIDDLE) ** 0.5, seed), time.monotonic()
    network, losses = train(recipe, data, device, micro=micro)
    seconds = time.monotonic() - begun
    network = retaken(network, data, device)
    iou = validate(network, recipe, chip_folder(budget.chips).where(split="validation"), None).iou
    return Epoch(iou, losses, seconds, size * steps_to(losses, TARGET))


def regrouped(data: Sequence[Batch], size: int) -> list[Batch]:
    """The same chips in the same order, in batches of another size; a rest that fills none is left out."""
    image, target, valid = (torch.cat(parts) for parts in zip(*(batch[:3] for batch in data), strict=True))
    every = Batch(image, target, valid, ())
    return [every.part(start, start + size) for start in range(0, len(every.image) - size + 1, size)]


def _accuracy(runs: Mapping[int, Sequence[Epoch]]) -> Finding:
    sizes = list(runs)
    found = {size: [one.iou for one in each] for size, each in runs.items()}
    ious = {size: mean_of_seeds(each) for size, each in found.items()}
    gain = paired(found[sizes[-1]], found[sizes[0]])
    lines = Lines(
        "Validation IoU after the same chips", "batch size", "IoU", sizes, {"IoU": [*ious.values()]}, log_x=True
    )
    numbers = {"gain": gain, "small": ious[sizes[0]], "large": ious[sizes[-1]], **_ends(sizes)}
    return Finding("batch_trained.accuracy", numbers, [lines])


def _speed(runs: Mapping[int, Sequence[Epoch]]) -> Finding:
    """Chips until the loss is at the target, early in training, and the seconds that they take."""
    sizes = list(runs)
    chips = {size: mean_of_seeds([one.chips_to_target for one in each]) for size, each in runs.items()}
    seconds = {size: mean_of_seeds([_seconds_to(one, size) for one in each]) for size, each in runs.items()}
    ratio = mean_of_seeds(
        [a.chips_to_target / b.chips_to_target for a, b in zip(runs[sizes[0]], runs[sizes[-1]], strict=True)]
    )
    pictures = [
        Lines(
            "Chips until something is learnt", "batch size", "chips", sizes, {"chips": [*chips.values()]}, log_x=True
        ),
        Lines(
            "Seconds until something is learnt",
            "batch size",
            "seconds",
            sizes,
            {"seconds": [*seconds.values()]},
            log_x=True,
        ),
    ]
    numbers = {"ratio": ratio, "small": chips[sizes[0]], "large": chips[sizes[-1]], **_ends(sizes)}
    numbers |= {"small_s": seconds[sizes[0]], "large_s": seconds[sizes[-1]]}
    return Finding("batch_trained.speed", numbers, pictures)


def _seconds_to(one: Epoch, size: int) -> float:
    return one.seconds * one.chips_to_target / (size * len(one.losses))


def _oscillation(runs: Mapping[int, Sequence[Epoch]]) -> Finding:
    """The deviation of the change of the loss from step to step, in the second half."""
    sizes = list(runs)
    jumps = {size: [_jump(one.losses) for one in each] for size, each in runs.items()}
    ratio = mean_of_seeds([a / max(b, 1e-9) for a, b in zip(jumps[sizes[0]], jumps[sizes[-1]], strict=True)])
    curves = [mean_of_seeds(each) for each in jumps.values()]
    lines = Lines(
        "Change of the loss from step to step", "batch size", "loss", sizes, {"deviation": curves}, log_x=True
    )
    return Finding(
        "batch_trained.oscillation", {"ratio": ratio, "small": curves[0], "large": curves[-1], **_ends(sizes)}, [lines]
    )


def _jump(losses: Sequence[float]) -> float:
    late = losses[len(losses) // 2 :]
    changes = [b - a for a, b in pairwise(late)]
    return stdev(changes) if len(changes) > 1 else 0.0


def _ends(sizes: Sequence[int]) -> dict[str, Number]:
    return {"least": mean_of_seeds([sizes[0]] * 2), "most": mean_of_seeds([sizes[-1]] * 2)}


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
    found = {way: [one.iou for one in each] for way, each in runs.items()}
    ious = {way: mean_of_seeds(each) for way, each in found.items()}
    seconds = {way: mean_of_seeds([one.seconds for one in each]) for way, each in runs.items()}
    numbers = {
        "gain": paired(found["parts"], found["small"]),
        "short": paired(found["large"], found["parts"]),
        **{f"{way}_iou": iou for way, iou in ious.items()},
        **{f"{way}_s": mean for way, mean in seconds.items()},
    }
    pictures = [
        Bars("Validation IoU after the same chips", "IoU", {WAYS[way]: iou for way, iou in ious.items()}),
        Bars("Time for the same chips", "seconds", {WAYS[way]: mean for way, mean in seconds.items()}),
    ]
    yield Finding("batch_trained_memory.ways", numbers, pictures)
