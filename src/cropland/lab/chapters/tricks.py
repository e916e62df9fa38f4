"""Ten changes of one line in a recipe, each added alone to a recipe that has none of them, in equal time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from cropland.data.chips import ChipFolder
from cropland.engines import cache_folder
from cropland.lab.charts import Bars, Chart, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import FULL, Budget, Number, exactly, mean_of_seeds
from cropland.lab.trials import Outcome, chip_folder, one_thread, remembered, small_recipe, trial
from cropland.recipe import Recipe
from cropland.training.optimizer import make_optimizer, set_rate

__all__ = ["tricks"]

SEEDS, SECONDS = 6, 30.0  # of its own budget: of every contender, and of the steps of one training
CROP, COARSER = 96, 2.0  # pixels of a crop, each of them about twice as large as the chips'
NONE, ALL = "none of them", "all_ten"
BASE = (
    "network.name=resunet",
    "network.options={ width = 8, encoder_options = { width = 8, depth = 4 } }",
    "sampling.scale=[1.5, 2.7]",
    "loss={ cross_entropy = 1.0 }",
    "training.batch=4",
    "training.learning_rate=2e-3",
    "training.weight_decay=0.05",
    "training.warmup=0",
    "training.schedule=constant",
    "training.label_smoothing=0",
    "training.ema=0",
    "training.decay_all=true",
    "training.clip=0",
    "training.layout=channels_first",
    "training.precision=float32",
)
TRICKS = {
    "warm_up": "training.warmup=0.1",
    "cosine_schedule": "training.schedule=cosine",
    "label_smoothing": "training.label_smoothing=0.1",
    "averaged_weights": "training.ema=0.98",
    "norms_without_decay": "training.decay_all=false",
    "gradient_clipping": "training.clip=1",
    "zero_initialised_residual": "network.options.zero_init=true",
    "channels_last": "training.layout=channels_last",
    "bfloat16": "training.precision=bfloat16",
    "dice_added": "loss.dice=1.0",
}
Outcomes = Mapping[str, Sequence[Outcome]]


def tricks(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """All ten at once, then each alone."""
    names = (ALL, *TRICKS)
    if not budget.seeds:
        yield from (Finding(f"tricks.{name}", missing="nothing is trained in a quick run") for name in names)
        return
    chips = chip_folder(budget.chips)
    contenders = recipes(chips, crop=min(CROP, budget.size))
    outcomes = _compete(contenders, chips, device, budget)
    yield from (_finding(name, contenders, outcomes) for name in names)


def recipes(chips: ChipFolder, *, crop: int) -> dict[str, Recipe]:
    """The recipe with none of the ten, with each, and with all."""
    pixel_m = COARSER * float(chips.index["pixel_m"].median())
    base = (*BASE, f"sampling.crop={crop}", f"validation.working_pixels=[{pixel_m:.3g}]")
    lines = {NONE: (), **{name: (line,) for name, line in TRICKS.items()}, ALL: tuple(TRICKS.values())}
    return {name: small_recipe(*base, *its) for name, its in lines.items()}


def _compete(
    contenders: Mapping[str, Recipe], chips: ChipFolder, device: torch.device, budget: Budget
) -> dict[str, list[Outcome]]:
    """Train every contender with every seed, seed by seed, so that what disturbs the machine disturbs all."""
    own, kept = budget.steps >= FULL.steps, cache_folder() / "lab" / "tricks"
    done: dict[str, list[Outcome]] = {name: [] for name in contenders}
    with one_thread():
        for seed in range(SEEDS if own else budget.seeds):
            for name, recipe in contenders.items():
                if own:
                    its = remembered(recipe, chips, device, seed=seed, limit_s=SECONDS, kept=kept)
                else:
                    its = Outcome(trial(recipe, chips, device, seed=seed, steps=budget.steps).iou, budget.steps)
                done[name].append(its)
    return done


def _finding(name: str, contenders: Mapping[str, Recipe], outcomes: Outcomes) -> Finding:
    each = gains(outcomes, name)
    numbers = {
        "gain": mean_of_seeds(each),
        "iou": mean_of_seeds([its.iou for its in outcomes[name]]),
        "base": mean_of_seeds([its.iou for its in outcomes[NONE]]),
        "base_steps": mean_of_seeds([float(its.steps) for its in outcomes[NONE]]),
        "steps": steps(outcomes, name),
    }
    seeds = {f"seed {seed}": exactly(points) for seed, points in enumerate(each)}
    charts: list[Chart] = [Bars("Gain seed by seed", "points of IoU", seeds, level=0.0)]
    if name == ALL:
        numbers |= census(outcomes)
        charts = [*_overview(outcomes), *charts]
    if name in ("warm_up", "cosine_schedule"):
        charts.append(_rates(contenders[NONE], contenders[name]))
    unseen = numbers["gain"].low <= 0 <= numbers["gain"].high
    notes = [f"seeds: {len(each)}", *["no effect to be seen: the interval holds zero"] * unseen]
    return Finding(f"tricks.{name}", numbers, charts, notes)


def gains(outcomes: Outcomes, name: str) -> list[float]:
    """Points of IoU by which a contender ends above the recipe without tricks, seed by seed."""
    return [100 * (a.iou - b.iou) for a, b in zip(outcomes[name], outcomes[NONE], strict=True)]


def steps(outcomes: Outcomes, name: str) -> Number:
    """How many times as many steps a contender takes in the same time."""
    return mean_of_seeds([a.steps / b.steps for a, b in zip(outcomes[name], outcomes[NONE], strict=True)])


def census(outcomes: Outcomes) -> dict[str, Number]:
    """How many of the ten help, harm, or have no effect to be seen, and what their gains add up to."""
    alone = [mean_of_seeds(gains(outcomes, name)) for name in TRICKS]
    helped, harmed = sum(its.low > 0 for its in alone), sum(its.high < 0 for its in alone)
    counts = {"helped": helped, "harmed": harmed, "unseen": len(TRICKS) - helped - harmed}
    added = [sum(each) for each in zip(*(gains(outcomes, name) for name in TRICKS), strict=True)]
    return {**{name: exactly(count) for name, count in counts.items()}, "sum": mean_of_seeds(added)}


def _overview(outcomes: Outcomes) -> list[Chart]:
    words = {name: name.replace("_", " ") for name in (*TRICKS, ALL)}
    ends = {label: mean_of_seeds(gains(outcomes, name)) for name, label in words.items()}
    taken = {label: steps(outcomes, name) for name, label in words.items()}
    return [
        Bars("Gain of each line added alone, and of all ten", "points of IoU", ends, level=0.0),
        Bars("Steps in the same time, against none of them", "times", taken, level=1.0),
    ]


def _rates(base: Recipe, changed: Recipe) -> Lines:
    optimizer, at = make_optimizer(nn.Linear(1, 1), base.training), [number / 50 for number in range(51)]
    curves = {
        label: [exactly(set_rate(optimizer, its.training, progress)) for progress in at]
        for label, its in (("without the line", base), ("with the line", changed))
    }
    return Lines("Learning rate over the training", "share of the training", "learning rate", at, curves)
