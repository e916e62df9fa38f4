"""Short trainings of small networks on real chips, the same chips in the same order for every contender.

`trial` trains as the product does and ends with a validation; `train` takes a minute, at a constant rate, on batches
made beforehand and cut into micro-batches.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from torch import nn

from cropland.data.batches import Batch, Sampler, batches
from cropland.data.chips import INDEX, ChipFolder, open_chips
from cropland.data.cut import cut_chips
from cropland.demo import FIELDS, FOLDER, TILE
from cropland.lab.measure import Number, paired, synchronise
from cropland.model import build_network
from cropland.recipe import Recipe, read_recipe
from cropland.training.memory import place_batch, place_network
from cropland.training.optimizer import make_objective, make_optimizer, set_rate, take_step, update_average
from cropland.training.validate import validate

Change = Callable[[nn.Module], nn.Module]
Losses = tuple[float, ...]
ENDLESS = 10**9  # steps that no training takes: its seconds end it
BATCH = 4  # chips a step: in so short a training more steps are worth more than larger batches
CEILING = 3.0  # coin tosses; a loss above, or none at all, counts as that
WINDOW = 8  # steps that a loss is averaged over
LATEST = 8  # batches that the statistics are taken from again


@dataclass(frozen=True)
class Trial:
    """One short training: validation IoU of the averaged weights at the end, loss and elapsed seconds per step."""

    iou: float
    losses: tuple[float, ...]
    seconds: tuple[float, ...]
    network: nn.Module


def small_recipe(*settings: str) -> Recipe:
    """The small recipe that ships in single precision, with settings such as `network.options.up=transposed`."""
    return read_recipe(FOLDER / "small.toml", ("training.precision=float32", *settings))


@cache
def chip_folder(given: Path | None) -> ChipFolder:
    """The user's chip folder, or the fields of the sample tile, cut once; a quarter of it is for validation."""
    return open_chips(given) if given else open_chips(_sample_chips())


def sides(given: Path | None) -> dict[str, int]:
    """How many chips there are to train on and to validate on."""
    return {side: len(chip_folder(given).where(split=side)) for side in ("train", "validation")}


@cache
def _kept() -> TemporaryDirectory[str]:
    return TemporaryDirectory()  # removed when the interpreter ends


def _sample_chips() -> Path:
    out = Path(_kept().name) / "chips"
    cut_chips(TILE, FIELDS, out, background="known", size=128, validation=0.25)
    return out


def trial(
    recipe: Recipe,
    chips: ChipFolder,
    device: torch.device,
    *,
    seed: int,
    steps: int,
    limit_s: float = math.inf,
    change: Change | None = None,
) -> Trial:
    """Train for so many steps, or until the steps have taken `limit_s` seconds by the clock of the thread that takes
    them; `change` may alter the network before the first."""
    training = recipe.training.model_copy(update={"seed": seed})
    recipe = recipe.model_copy(update={"training": training})
    torch.manual_seed(seed)
    network = build_network(recipe)
    network = place_network(change(network) if change else network, device, layout=training.layout)
    average = copy.deepcopy(network) if training.ema else network
    objective = make_objective(recipe.loss, label_smoothing=training.label_smoothing)
    optimizer = make_optimizer(network.train(), training)
    losses, seconds, begun, spent = list[float](), list[float](), time.monotonic(), 0.0
    for step, batch in enumerate(_stream(recipe, chips, steps)):
        here = place_batch(batch, device, layout=training.layout)
        started = _clock(device)
        set_rate(optimizer, training, max(step / steps, spent / limit_s))
        loss, _ = take_step(network, optimizer, here, objective, clip=training.clip, precision=training.precision)
        if training.ema:
            update_average(average, network, decay=training.ema, step=step)
        losses.append(float(loss.mean()))
        seconds.append(time.monotonic() - begun)
        spent += _clock(device) - started
        if spent >= limit_s:
            break
    score = validate(average, recipe, chips.where(split="validation"), None)
    return Trial(score.iou, tuple(losses), tuple(seconds), average)


def compare(
    recipes: Mapping[str, Recipe], chips: ChipFolder, device: torch.device, *, seeds: int, steps: int
) -> dict[str, list[Trial]]:
    """Train every contender with every seed, seed by seed, on `BATCH` chips a step."""
    small = {"batch": BATCH}
    recipes = {n: r.model_copy(update={"training": r.training.model_copy(update=small)}) for n, r in recipes.items()}
    done: dict[str, list[Trial]] = {name: [] for name in recipes}
    for seed in range(seeds):
        for name, recipe in recipes.items():
            done[name].append(trial(recipe, chips, device, seed=seed, steps=steps))
    return done


@dataclass(frozen=True)
class Outcome:
    """What is kept of a training that ended by its time: the validation IoU, and the steps that it took."""

    iou: float
    steps: int


def remembered(
    recipe: Recipe, chips: ChipFolder, device: torch.device, *, seed: int, limit_s: float, kept: Path
) -> Outcome:
    """Train for `limit_s` seconds of steps, unless the folder `kept` holds the outcome of the same training."""
    told = (recipe.model_dump_json(exclude_defaults=True), seed, limit_s, device.type)
    digest = hashlib.sha256((chips.path / INDEX).read_bytes() + repr(told).encode()).hexdigest()
    path = kept / f"{digest[:24]}.json"
    if path.exists():
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    done = trial(recipe, chips, device, seed=seed, steps=ENDLESS, limit_s=limit_s)
    outcome = Outcome(done.iou, len(done.losses))
    kept.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(f".{os.getpid()}")
    hidden.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    hidden.replace(path)
    return outcome


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread computes, so that its time is the time of all the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gain(better: Sequence[Trial], than: Sequence[Trial]) -> Number:
    """The difference in IoU, paired by seed: mean and 95 % interval."""
    return paired([trial.iou for trial in better], [trial.iou for trial in than])


def short_recipe(norm: str, rate: float, seed: int) -> Recipe:
    """The small recipe, narrower and on smaller crops."""
    widths = ("network.options.width=8", "network.options.encoder_options.width=8", "sampling.crop=64")
    return small_recipe(
        f"network.options.norm={norm}", f"training.learning_rate={rate}", f"training.seed={seed}", *widths
    )


@cache
def batches_of(chips: Path | None, seed: int, steps: int) -> tuple[Batch, ...]:
    """The same chips in the same order for every contender."""
    return tuple(_stream(short_recipe("batch_norm", 0.01, seed), chip_folder(chips), steps))


def train(recipe: Recipe, data: Sequence[Batch], device: torch.device, *, micro: int = 8) -> tuple[nn.Module, Losses]:
    """Train at a constant rate, `micro` chips at a time; the losses are shares of a coin toss's, at most `CEILING`."""
    torch.manual_seed(recipe.training.seed)
    network = place_network(build_network(recipe), device).train()
    objective, optimizer = make_objective(recipe.loss), make_optimizer(network, recipe.training)
    losses = []
    for batch in data:
        here = batch.to(device)
        loss, _ = take_step(network, optimizer, here, objective, micro=micro, clip=recipe.training.clip)
        share = float(loss.mean() / objective(torch.zeros_like(here.target), here).mean())
        losses.append(min(share, CEILING) if math.isfinite(share) else CEILING)
    return network, tuple(losses)


def steps_to(losses: Losses, target: float) -> int:
    """The first step at which the mean of the latest losses is at the target; all steps where that never is."""
    return next((step for step, mean in enumerate(latest(losses), 1) if mean <= target), len(losses))


def latest(losses: Losses) -> list[float]:
    """At every step the mean of the latest losses."""
    return [fmean(losses[max(0, step - WINDOW) : step]) for step in range(1, len(losses) + 1)]


@torch.no_grad()
def retaken(network: nn.Module, data: Sequence[Batch], device: torch.device) -> nn.Module:
    """A copy whose running statistics are the plain mean over the latest batches, whole."""
    other = copy.deepcopy(network).train()
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for batch in data[-LATEST:]:
        other(batch.to(device).image)
    return other


def _clock(device: torch.device) -> float:
    """Seconds: on a CPU those that the calling thread was given, so that other work on the machine does not count."""
    synchronise(device)
    return time.thread_time() if device.type == "cpu" else time.perf_counter()


def _stream(recipe: Recipe, chips: ChipFolder, steps: int) -> Iterator[Batch]:
    """So many batches in a row, as one epoch."""
    longer = recipe.training.model_copy(update={"chips_per_epoch": steps * recipe.training.batch})
    sampler = Sampler(chips.where(split="train"), recipe.model_copy(update={"training": longer}))
    return batches(sampler, 0)
